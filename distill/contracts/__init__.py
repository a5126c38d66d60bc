"""Everything that crosses a process border, as pydantic models: no torch, no Ray, no Redis."""
