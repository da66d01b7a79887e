"""One file per rival. Each has

VERSION              its name and version, for the report
setup(threads)       set the number of threads by the library's own control
prepare(op, x, axis) -> (modes, names): the statements to time, as a user would write them, by
                     mode ("fresh...": a new output each call; "out": a preallocated one), and the
                     names that they use, `out` among them; any exception means "unsupported"
to_numpy(value)      the result as a NumPy array
"""
