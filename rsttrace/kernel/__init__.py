"""Everything that asks the running kernel: BTF, tracefs, features, loading, symbols."""
