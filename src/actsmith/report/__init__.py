"""For a reader: tables, figures and pages. Reads results, computes nothing."""
