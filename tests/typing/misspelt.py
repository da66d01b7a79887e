"""A misspelt keyword, and a policy that does not exist, are no call: `# type: ignore` is needed."""

import numpy as np

from stablesoftmax import cross_entropy, logsumexp, softmax

x = np.ones((2, 3))
softmax(x, tempreture=2)  # type: ignore[call-overload]
softmax(x, undefined="zeros")  # type: ignore[call-overload]
logsumexp(x, keepdim=True)  # type: ignore[call-overload]
cross_entropy(x, [0, 1], reduction="average")  # type: ignore[call-overload]
