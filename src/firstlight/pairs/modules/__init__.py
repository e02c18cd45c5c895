"""Fast partners: fits of an exact activation as torch modules and as a native kernel."""
