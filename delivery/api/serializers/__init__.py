"""What the API takes and returns, one module per resource."""
