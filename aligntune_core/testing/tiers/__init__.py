"""The tests of the kit, one module a tier."""
