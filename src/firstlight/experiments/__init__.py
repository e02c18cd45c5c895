"""One module per paper: each figure or table as a function that returns data and draws it."""
