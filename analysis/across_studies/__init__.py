"""Claims across studies: every study's estimates next to each other, and their mean where it may be taken.

`folders.study_folders` finds the studies below a folder and `studies.read_study` decides each; `overview.overview_of`
compares them, `text` writes the page, and `learned` checks the references of a hand-written summary.
"""
