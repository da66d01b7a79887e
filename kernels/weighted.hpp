// log Σ b·exp(x) of rows x and weights b of either sign, in doubles, as terms cancel: log(exp(1) - exp(0.9999)).
//
// Rows that infinities or NaN decide, and those with a term too small beside its weight to be told, are left
// to the formulas: [0, -1100] with b = [1e-300, 1e300].
#pragma once

#include "layouts.hpp"

namespace stablesoftmax::LEVEL {

template <class Layout>
struct WeightedSum {
    using V = Vector<double>;
    static constexpr double infinity = std::numeric_limits<double>::infinity();

    Layout &layout;

    // False: it is left to the formulas.
    bool compute() {
        V high = broadcast(-infinity);
        layout.sweep([&](size_t, size_t, V x, Doubles<double> weights, Bits<double>) __attribute__((always_inline)) {
            const V b = weights.part[0];
            high = maximum(b == 0 ? broadcast(-infinity) : x, high);
        });
        const V max = layout.fold(high, [](V a, V b) { return maximum(a, b); });
        Shift<double> shift = shift_at<double>(finite_or_zero<double>(max));
        shift.exponent -= exponential_guard<double> - Limits<double>::guard;
        const Exponential<double, false, false> exponential(shift);
        Running<double> sums[Layout::slots] = {};
        V lost{};  // the largest weight of what exp takes for nothing
        layout.sweep([&](size_t slot, size_t, V x, Doubles<double> b, Bits<double>) __attribute__((always_inline)) {
            const Bits<double> nothing = exponential.is_nothing(x) | (b.part[0] == 0);
            const V e = nothing ? V{} : exponential.template value<false>(x, V{});
            sums[slot].add_product({{e}}, b, {});
            const V size = b.part[0] < 0 ? -b.part[0] : b.part[0];
            lost = maximum(nothing & (x != -infinity) ? size : V{}, lost);
        });
        return write(layout.folded(sums), lost, shift);
    }

    // log|S| + shift; NaN of a negative sum, -inf of none. An infinity or NaN that counts shows in S.
    bool write(Running<double> sum, V lost, Shift<double> shift) {
        constexpr double least = 0x1p-880;  // the floor of exp, as 2^-80 of the sum
        lost = layout.fold(lost, [](V a, V b) { return maximum(a, b); });
        const Pair<double> all = two_sum<double>(sum.head.part[0], sum.rest.part[0]);
        const V size = all.head < 0 ? -all.head : all.head;
        if (any(all.head - all.head != 0) || any(lost * least > size)) return false;
        layout.write(log_of(all, shift.exponent, shift.center));
        return true;
    }

    // log((head + tail)·2^exponent) + center, by 2^k·(1 + f) with sqrt(1/2) < 1 + f < sqrt 2.
    static INLINE Vector<double> log_of(Pair<double> sum, Vector<double> exponent, Vector<double> center) {
        constexpr int64_t one = 0x3ff0000000000000, sqrt_half = 0x3fe6a09e667f3bcd;
        const Bits<double> bits = wrapping_sum<double>(bits_of<double>(sum.head), Bits<double>{} + (one - sqrt_half));
        const Bits<double> mantissa = (bits & 0x000fffffffffffff) + sqrt_half;
        const Vector<double> k = from_bits<double>(((bits >> 52) - 1023) + 0x4338000000000000) - 0x1.8p52;
        const Vector<double> m = from_bits<double>(mantissa);
        const Pair<double> log = log1p(m - 1, sum.tail / sum.head * m);
        const Vector<double> n = k + exponent;
        const Pair<double> high = two_sum<double>(n * 6.93147180369123816490e-01, center);
        const Pair<double> all = two_sum<double>(high.head, log.head);
        const Vector<double> value = all.head + (all.tail + (high.tail + (log.tail + n * 1.90821492927058770002e-10)));
        constexpr double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
        return sum.head == 0 ? broadcast(-inf) : sum.head < 0 ? broadcast(nan) : value;
    }
};

// False: some row is left to the formulas.
template <class S>
bool weigh(const ProductRows &rows, size_t count, const Context &) {
    return for_layouts<double>(rows, ends_for<S, double>(rows.v_format), count, sizeof(S), [](auto &layout) {
        return WeightedSum<std::decay_t<decltype(layout)>>{layout}.compute();
    });
}

}  // namespace stablesoftmax::LEVEL
