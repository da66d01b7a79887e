// The call that needs no Python: arguments read, seen as rows, computed and wrapped.
#pragma once

#include "binding.hpp"

namespace stablesoftmax {

// softmax, log_softmax or logsumexp of what was given. Null with an exception set: it failed. Null
// without one: not plain, or not right, which the function in Python decides; nothing was written.
PyObject *plain_call(Operation, PyObject *const *args, size_t nargsf, PyObject *names);

// Once, before the first call. False: with an exception set.
bool intern_parameters();

}  // namespace stablesoftmax
