// One level: the including file has set LEVEL and the compiler's flags. (No include guard: this is
// the body of each level's translation unit.)
#include "../draws.hpp"
#include "../entropies.hpp"
#include "../losses.hpp"
#include "../products.hpp"
#include "../scans.hpp"
#include "../scattered.hpp"
#include "../segments.hpp"
#include "../short_rows.hpp"
#include "../weighted.hpp"

namespace stablesoftmax {

extern const Kernels LEVEL_TABLE;

#define ALL_FORMATS(FUNCTION) \
    {LEVEL::FUNCTION<float>, LEVEL::FUNCTION<double>, LEVEL::FUNCTION<float16>, LEVEL::FUNCTION<bfloat16>}
#define PER_FORMAT(FUNCTION, OP) \
    {LEVEL::FUNCTION<OP, float>, LEVEL::FUNCTION<OP, double>, LEVEL::FUNCTION<OP, float16>, \
     LEVEL::FUNCTION<OP, bfloat16>}
#define PER_OPERATION(FUNCTION) \
    {PER_FORMAT(FUNCTION, Operation::softmax), PER_FORMAT(FUNCTION, Operation::log_softmax), \
     PER_FORMAT(FUNCTION, Operation::logsumexp)}

#define EACH_OPERATION(FUNCTION, S) \
    {LEVEL::FUNCTION<Operation::softmax, S>, LEVEL::FUNCTION<Operation::log_softmax, S>, \
     LEVEL::FUNCTION<Operation::logsumexp, S>}
#define SCATTERED(S) \
    {{LEVEL::records_maxima<Operation::softmax, compute<S>>, LEVEL::records_maxima<Operation::log_softmax, compute<S>>, \
      LEVEL::records_maxima<Operation::logsumexp, compute<S>>}, LEVEL::absorb<S>, LEVEL::absorb_again<S>, EACH_OPERATION(are_trusted, S), EACH_OPERATION(settle, S), \
     EACH_OPERATION(finish_groups, S), EACH_OPERATION(write_members, S), LEVEL::write_logsumexp<S>}

#define PER_PRODUCT(PRODUCT) PER_FORMAT(multiply, PRODUCT)

const Kernels LEVEL_TABLE = {
    LEVEL_NAME,
    PER_OPERATION(rows),
    PER_OPERATION(columns),
    PER_OPERATION(ragged),
    PER_OPERATION(row),
    ALL_FORMATS(is_undefined),
    ALL_FORMATS(loss_row),
    ALL_FORMATS(select_row),
    {SCATTERED(float), SCATTERED(double), SCATTERED(float16), SCATTERED(bfloat16)},
    ALL_FORMATS(cumulate_row),
    ALL_FORMATS(entropy_row),
    ALL_FORMATS(divergence_row),
    {PER_PRODUCT(Product::softmax), PER_PRODUCT(Product::log_softmax), PER_PRODUCT(Product::log_softmax_transposed),
     PER_PRODUCT(Product::logsumexp), PER_PRODUCT(Product::logsumexp_transposed)},
    ALL_FORMATS(weigh),
    ALL_FORMATS(can_draw),
    ALL_FORMATS(draw_row),
    ALL_FORMATS(draw_short_rows),
};

}  // namespace stablesoftmax
