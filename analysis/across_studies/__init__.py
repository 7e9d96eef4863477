"""Claims across studies: every study's estimates next to each other, and their mean where it may be taken.

`overview.overview` reads the studies below a folder, `text.markdown` writes what it found, and `learned` checks the
references of a hand-written summary.
"""
