// One level: the including file has set LEVEL and the compiler's flags. (No include guard: this is
// the body of each level's translation unit.)
#include "../segments.hpp"
#include "../short_rows.hpp"

namespace stablesoftmax {

extern const Kernels LEVEL_TABLE;

#define PER_FORMAT(FUNCTION, OP) \
    {LEVEL::FUNCTION<OP, float>, LEVEL::FUNCTION<OP, double>, LEVEL::FUNCTION<OP, float16>, \
     LEVEL::FUNCTION<OP, bfloat16>}
#define PER_OPERATION(FUNCTION) \
    {PER_FORMAT(FUNCTION, Operation::softmax), PER_FORMAT(FUNCTION, Operation::log_softmax), \
     PER_FORMAT(FUNCTION, Operation::logsumexp)}

const Kernels LEVEL_TABLE = {
    LEVEL_NAME,
    PER_OPERATION(rows),
    PER_OPERATION(columns),
    PER_OPERATION(ragged),
    PER_OPERATION(row),
    {LEVEL::is_undefined<float>, LEVEL::is_undefined<double>, LEVEL::is_undefined<float16>,
     LEVEL::is_undefined<bfloat16>},
};

}  // namespace stablesoftmax
