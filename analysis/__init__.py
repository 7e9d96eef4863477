"""From the evidence of a study to decided claims, tables, figures and sentences; nothing here knows torch."""
