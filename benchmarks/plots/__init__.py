"""Charts of what many tasks get done, as SVG.

Written by hand: two axes, some lines and a legend are 200 lines, and what matters here (dark mode,
titles for screen readers, the same bytes from the same results) would have to be added to
what small libraries draw. matplotlib would be many times the size of all that is installed.
"""
