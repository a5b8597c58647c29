"""Ground truth: customers of whom everything is known, played through the real core, and how right it was."""
