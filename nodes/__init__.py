"""The pack's nodes, one file a topic."""
