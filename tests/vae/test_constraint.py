"""Every constraint keeps the contract of `molvae.vae.constraint.Constraint`; then what each of them says."""

from typing import Annotated

import pytest
import torch

from molvae.config import Component, as_table, parse_recipe
from molvae.data.vocab import END, START, Vocab
from molvae.errors import DataError, RecipeError, UnknownCharacter, UsageError
from molvae.vae.constraint import CONSTRAINTS, ConstraintSettings, Prefix, Product, SmilesGrammar
from molvae.vae.decoding import beam, generate

VOCAB, LONGEST, ROWS = Vocab("#()-12=CFHNO[]cn"), 30, 60
EXAMPLES = {
    "smiles": SmilesGrammar(),
    "prefix": Prefix(text="c1cc(N)"),
    "product": Product(of=(SmilesGrammar(), Prefix(text="CC(=O)c1c"))),
}


class Recipe(Component):
    constraint: Annotated[ConstraintSettings, CONSTRAINTS]


@pytest.fixture(params=CONSTRAINTS.kinds)
def constraint(request):
    return EXAMPLES[request.param](VOCAB, LONGEST)


def drawn(allowed: torch.Tensor, chance: torch.Generator) -> torch.Tensor:
    """A character of each row that is allowed, END where none is."""
    chosen = torch.multinomial(allowed + 1e-30, 1, generator=chance)[:, 0]
    return torch.where(allowed.any(1), chosen, END)


def walk(constraint, steps: int) -> tuple[torch.Tensor, torch.Tensor, object]:
    """What was chosen, ``(rows, steps)``, what was allowed, ``(rows, steps, vocabulary)``, and the last state."""
    state, chance = constraint.start(ROWS), torch.Generator().manual_seed(0)
    chosen, masks = [], []
    for _ in range(steps):
        masks.append(constraint.allowed(state).clone())
        chosen.append(drawn(masks[-1], chance))
        state = constraint.advance(state, chosen[-1])
    return torch.stack(chosen, 1), torch.stack(masks, 1), state


def after(constraint, ids: torch.Tensor):
    """The state after rows of ids."""
    state = constraint.start(len(ids))
    for column in ids.unbind(1):
        state = constraint.advance(state, column)
    return state


def test_a_batch_is_asked_at_a_time(constraint):
    allowed = constraint.allowed(constraint.start(3))
    assert allowed.shape == (3, len(VOCAB))
    assert allowed.dtype == torch.bool
    assert allowed[0].any()
    assert not allowed[:, START].any()
    assert constraint.allowed(constraint.start(0)).shape == (0, len(VOCAB))


def test_a_string_of_allowed_characters_ends(constraint):
    chosen, masks, state = walk(constraint, LONGEST)
    assert not constraint.allowed(state).any()
    for row, may in zip(chosen.tolist(), masks, strict=True):
        assert START not in row
        if END in row:
            assert not may[row.index(END) + 1 :].any()
    assert (chosen == END).any()


def test_rows_are_independent(constraint):
    chosen, masks, _ = walk(constraint, LONGEST)
    for row in (0, 7, 31):
        for length in range(LONGEST):
            assert torch.equal(
                constraint.allowed(after(constraint, chosen[row : row + 1, :length]))[0], masks[row, length]
            )


def test_selected_rows_go_on_by_themselves_even_the_same_row_twice(constraint):
    chosen, _, _ = walk(constraint, 8)
    rows = torch.tensor([3, 0, 3, 3, 59])
    state = after(constraint, chosen).select(rows)
    assert torch.equal(constraint.allowed(state), constraint.allowed(after(constraint, chosen))[rows])
    following = drawn(constraint.allowed(state), torch.Generator().manual_seed(1))
    state = constraint.advance(state, following)
    alone = after(constraint, torch.cat([chosen[rows], following[:, None]], 1))
    assert torch.equal(constraint.allowed(state), constraint.allowed(alone))


@pytest.mark.parametrize("kind", CONSTRAINTS.kinds)
def test_a_recipe_chooses_it_by_kind(kind):
    recipe = Recipe(constraint=EXAMPLES[kind])
    assert parse_recipe(as_table(recipe), Recipe) == recipe


def text(constraint, begun: str) -> set[str]:
    """What may follow a text; "end" for its end."""
    ids = torch.tensor([VOCAB.encode(begun)], dtype=torch.long)
    found = constraint.allowed(after(constraint, ids))[0].nonzero()[:, 0].tolist()
    return {"end" if k == END else VOCAB.decode([k]) for k in found}


def test_a_prefix_comes_first_and_then_anything():
    constraint = Prefix(text="(N")(VOCAB, 4)
    assert [text(constraint, begun) for begun in ("", "(")] == [{"("}, {"N"}]
    assert text(constraint, "(N") == text(constraint, "(N=") == {*VOCAB.characters, "end"}
    assert text(constraint, "(N==") == set()
    assert text(Prefix(text="")(VOCAB, 4), "") == {*VOCAB.characters, "end"}


def test_a_product_allows_what_all_allow():
    grammar, product = SmilesGrammar()(VOCAB, 20), Product(of=(SmilesGrammar(), Prefix(text="CC(")))(VOCAB, 20)
    assert text(product, "CC") == {"("}
    assert text(product, "CC(") == text(grammar, "CC(")
    assert text(Product(of=(SmilesGrammar(), Prefix(text="C)")))(VOCAB, 20), "C") == set()  # together no way on


def test_what_a_vocabulary_cannot_do_is_said():
    with pytest.raises(UnknownCharacter, match="'B'"):
        Prefix(text="CB")(VOCAB, LONGEST)
    with pytest.raises(UsageError, match="'CCC' has 3 characters, and strings have at most 2; shorten it"):
        Prefix(text="CCC")(VOCAB, 2)
    with pytest.raises(DataError, match="needs C in the vocabulary"):
        SmilesGrammar()(Vocab("N"), LONGEST).start(1)
    with pytest.raises(RecipeError, match="of"):
        Product(of=())


def test_the_decoder_writes_under_any_of_them(vae):
    """Greedily, drawn, and by beam search: all strings begin as they must."""
    start, z = "CC(", torch.randn(6, vae.latent, generator=torch.Generator().manual_seed(0))
    constraint = Product(of=(SmilesGrammar(), Prefix(text=start)))(vae.vocab, vae.longest)
    decoder = vae.net.decoder
    ids = [
        generate(decoder, z, vae.longest, grammar=constraint),
        generate(decoder, z, vae.longest, 1.0, torch.Generator().manual_seed(1), constraint),
        *beam(decoder, z, vae.longest, constraint, 3),
    ]
    assert all(vae.vocab.decode(row).startswith(start) for row in torch.cat(ids).tolist())
