"""What every process of Stillhouse shares: contracts, the journal, and the science."""
