"""Tests for those who write backends."""
