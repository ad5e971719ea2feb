"""Files to batches: tables of molecules, public sets, prepared corpora, labels."""
