// The entropy of a row's softmax, and the divergence of two, in doubles.
//
// The entropy is log1p(r) + Σ e·gap / (1 + r), where e = exp(x - max),
// gap = max - x, and r the sum of all e but the maximum's own. No term is negative, so a distribution
// that is nearly certain keeps its digits: [0, -40] has 1.7e-16 and not 0.
#pragma once

#include <cmath>

#include "rows.hpp"

namespace stablesoftmax::LEVEL {

constexpr size_t entropy_block = 512;  // elements at a time; they stay in the first cache

template <class S>
struct Exponents {
    static constexpr double infinity = std::numeric_limits<double>::infinity();
    // exp is taken this many binades higher, so that none that counts is subnormal: e^-745 is 2^-1075.
    static constexpr double lift = 500;

    const Row &row;
    size_t included = 0, peaks = 0, place = 0;  // the block with the first maximum
    bool has_nan = false;
    double max = -infinity;
    alignas(64) double x[entropy_block + 64];  // with room for whole vectors

    explicit Exponents(const Row &row) : row(row) {}

    size_t fetch(size_t begin) {
        const size_t count = row.length - begin < entropy_block ? row.length - begin : entropy_block;
        const ptrdiff_t at = static_cast<ptrdiff_t>(begin);
        gather<S, double>(row.x + at * row.x_step, row.x_step, x, count);
        if (row.where)
            for (size_t i = 0; i < count; ++i)
                if (!row.where[(at + static_cast<ptrdiff_t>(i)) * row.where_step]) x[i] = -infinity;
        return count;
    }

    void find_maximum() {
        included = row.where ? 0 : row.length;
        for (size_t begin = 0; begin < row.length; begin += entropy_block) {
            const size_t count = fetch(begin);
            if (row.where)
                for (size_t i = 0; i < count; ++i)
                    included += row.where[static_cast<ptrdiff_t>(begin + i) * row.where_step] != 0;
            Vector<double> high = broadcast(-infinity);
            Bits<double> unordered{};
            for_vectors<double>(count, [&](size_t i, size_t lanes) {
                const Vector<double> element = first_lanes<double>(load(x + i), lanes, -infinity);
                high = high < element ? element : high;
                unordered |= element != element;
            });
            has_nan = has_nan || any(unordered);
            double block = -infinity;
            for (size_t j = 0; j < Lanes<double>::count; ++j) block = block < high[j] ? high[j] : block;
            if (block == infinity)
                for (size_t i = 0; i < count; ++i) peaks += x[i] == infinity;
            if (block > max) max = block, place = begin;
        }
    }

    // The sums of e and of e·gap over all but the maximum, 2^lift times too large.
    struct Sums {
        Sum<double, Vector<double>> others, moments;
    };

    template <bool tempered>
    Sums sum() {
        const Exponential<double, false, false> exponential({Vector<double>{}, broadcast(-lift)});
        const Vector<double> temperature = broadcast(row.temperature < 0 ? 0 : row.temperature);
        Accumulator<double> others, moments;
        for (size_t begin = 0; begin < row.length; begin += entropy_block) {
            const size_t count = fetch(begin);
            if (begin == place) leave_out_maximum(count);
            for_vectors<double>(count, [&](size_t i, size_t lanes) {
                const Vector<double> element = first_lanes<double>(load(x + i), lanes, -infinity);
                const Pair<double> difference = two_sum<double>(element, broadcast(-max));
                Vector<double> below = difference.head, low = difference.tail;
                if constexpr (tempered) {
                    const Vector<double> divided = below / temperature;  // 0 / 0 and inf / inf are NaN
                    below = below == 0 || below == -infinity ? below : divided;
                    low = Vector<double>{};
                }
                const Bits<double> nothing = exponential.is_nothing(below);
                const Rounded<double> e = rounded(without(exponential.template term<true>(below, low), nothing));
                others.add(e);
                const Vector<double> gap = nothing ? Vector<double>{} : -below;
                moments.add(Rounded<double>{e.head * gap, Vector<double>{}});
            });
            others.settle();
            moments.settle();
        }
        return {others.along(), moments.along()};
    }

    void leave_out_maximum(size_t count) {
        for (size_t i = 0; i < count; ++i)
            if (x[i] == max) {
                x[i] = -infinity;
                return;
            }
    }

    // A NaN, or no limit: several +inf, or nothing but -inf. (Where nothing takes part, the entropy is 0.)
    bool is_undefined() const { return has_nan || peaks > 1 || (max == -infinity && included > 0); }
};

constexpr double lifted_down = 0x1p-500;

INLINE double entropy_of(Sum<double, Vector<double>> others, Sum<double, Vector<double>> moments) {
    const Vector<double> r = others.head * lifted_down, r_rest = others.rest * lifted_down;
    const Pair<double> log = log1p(r, r_rest), all = two_sum<double>(broadcast(1.0), r);
    const Pair<double> mean =
        quotient(moments.head * lifted_down, moments.rest * lifted_down, all.head, all.tail + r_rest);
    const Pair<double> entropy = two_sum<double>(log.head, mean.head);
    return (entropy.head + (entropy.tail + (log.tail + mean.tail)))[0];
}

template <class S>
INLINE void write_one(double value, const Row &row) {
    double y[64] = {value};  // with room for a whole vector
    scatter<S, double>(y, row.y, row.y_step, 1);
}

template <class S>
void entropy_row(const Row &row, const Context &) {
    Exponents<S> exponents(row);
    exponents.find_maximum();
    double value = 0;  // of one +inf, and of nothing
    if (exponents.is_undefined()) {
        value = std::numeric_limits<double>::quiet_NaN();
    } else if (exponents.included > 0 && exponents.peaks == 0) {
        const auto sums = row.temperature == 1 ? exponents.template sum<false>() : exponents.template sum<true>();
        value = entropy_of(sums.others, sums.moments);
    }
    write_one<S>(value, row);
}

// Coefficients of exp(v) - 1 = v·Σ v^k / (k + 1)! and of exp(d)·d - exp(d) + 1 = d²·Σ (k + 1)·d^k / (k + 2)!.
constexpr int series_terms = 21;
struct Series {
    double expm1[series_terms], divergence[series_terms];
};
constexpr Series make_series() {
    Series series{};
    double factorial = 1;  // of k + 1
    for (int k = 0; k < series_terms; ++k) {
        series.expm1[k] = 1 / factorial;
        factorial *= k + 2;
        series.divergence[k] = (k + 1) / factorial;
    }
    return series;
}
constexpr Series series = make_series();

INLINE Vector<double> sum_series(const double *coefficients, Vector<double> x) {
    Vector<double> value = broadcast(coefficients[series_terms - 1]);
#pragma GCC unroll 32
    for (int k = series_terms - 2; k >= 0; --k) value = multiply_add(value, x, broadcast(coefficients[k]));
    return value;
}

// For |v|, |d| <= 1; no digit is lost near 0.
INLINE Vector<double> small_expm1(Vector<double> v) { return v * sum_series(series.expm1, v); }
INLINE Vector<double> small_divergence(Vector<double> d) { return d * d * sum_series(series.divergence, d); }

// Σ p·d - p + q with d = log(p / q): no term is negative. Where the logits differ by a constant and by
// less than 1, two logarithms would leave nothing of d; there it is v - log(Σ q·exp(v)) with v = x - y
// less its value at one place: [1, 2] and [1 + 1e-9, 2] differ by 9.8e-20.
template <class S>
struct Divergence {
    using V = Vector<double>;
    static constexpr double infinity = std::numeric_limits<double>::infinity();

    Exponents<S> p, q;
    double log_ratio = 0;        // of the sums of exp(x - max) and of exp(y - max)
    double p_share = 1, q_share = 1;  // what one exp(… - max)·2^lift is worth
    double u = 0, u_low = 0;     // x - y where q is largest
    double c = 0;                // log(Σ q·exp(v)), where `near`
    bool near = false;

    Divergence(const Row &p, const Row &q) : p(p), q(q) {}

    double divergence() {
        p.find_maximum();
        q.find_maximum();
        if (p.is_undefined() || q.is_undefined()) return std::numeric_limits<double>::quiet_NaN();
        if (p.included == 0) return 0;
        log_ratio = log_sum(p, &p_share) - log_sum(q, &q_share);
        find_place();
        near = sum_near();
        return sum();
    }

    static double log_sum(Exponents<S> &side, double *share) {
        if (side.peaks == 1) {  // as [0, -inf, ...]: all of it at one place
            *share = lifted_down;
            return 0;
        }
        const auto others = side.template sum<false>().others;
        const V r = others.head * lifted_down, rest = others.rest * lifted_down;
        const Pair<double> log = log1p(r, rest);
        *share = lifted_down / (1 + (r[0] + rest[0]));
        return log.head[0] + log.tail[0];
    }

    // Fetch a block of each; a row with +inf as the row of 0 and -inf that it stands for.
    size_t fetch(size_t begin) {
        const size_t count = p.fetch(begin);
        q.fetch(begin);
        for (Exponents<S> *side : {&p, &q})
            if (side->peaks == 1)
                for (size_t i = 0; i < count; ++i) side->x[i] = side->x[i] == infinity ? 0 : -infinity;
        return count;
    }

    double p_max() const { return p.peaks ? 0 : p.max; }
    double q_max() const { return q.peaks ? 0 : q.max; }

    void find_place() {
        const size_t count = fetch(q.place);
        for (size_t i = 0; i < count; ++i)
            if (q.x[i] == q_max()) {
                const Pair<double> difference = two_sum<double>(broadcast(p.x[i]), broadcast(-q.x[i]));
                u = difference.head[0];
                u_low = difference.tail[0] - difference.tail[0] == 0 ? difference.tail[0] : 0;
                return;
            }
    }

    // exp(x - max)·share. What the difference leaves over counts: of 37.7 - -39.6 it is 38 ULP of the result.
    static INLINE V share_of(V x, double max, double share, const Exponential<double, false, false> &exponential) {
        const Pair<double> below = two_sum<double>(x, broadcast(-max));
        const V low = finite_or_zero<double>(below.tail);
        return exponential.is_nothing(below.head) ? V{} : exponential.template value<true>(below.head, low) * share;
    }

    struct Element {
        V x, y, q, v;         // q: the probability; v: the difference
        Bits<double> gone;    // of both
    };

    INLINE Element element(size_t i, size_t lanes, const Exponential<double, false, false> &exponential) const {
        Element a;
        a.x = first_lanes<double>(load(p.x + i), lanes, -infinity);
        a.y = first_lanes<double>(load(q.x + i), lanes, -infinity);
        a.q = share_of(a.y, q_max(), q_share, exponential);
        a.gone = (a.q == 0) & (a.x == -infinity);
        const Pair<double> difference = two_sum<double>(a.x, -a.y);
        const V low = difference.tail - difference.tail == 0 ? difference.tail : V{};
        a.v = a.gone ? V{} : (difference.head - u) + (low - u_low);
        return a;
    }

    // False: some v is beyond 1, or no number.
    bool sum_near() {
        const Exponential<double, false, false> exponential({V{}, broadcast(-Exponents<S>::lift)});
        Accumulator<double> total;
        for (size_t begin = 0; begin < p.row.length; begin += entropy_block) {
            const size_t count = fetch(begin);
            Bits<double> far{};
            for_vectors<double>(count, [&](size_t i, size_t lanes) {
                const Element a = element(i, lanes, exponential);
                far |= ~((a.v <= 1) & (a.v >= -1));
                total.add(Rounded<double>{a.q * small_expm1(a.v), V{}});
            });
            if (any(far)) return false;
            total.settle();
        }
        const auto sum = total.along();
        c = std::log1p(sum.head[0] + sum.rest[0]);
        return true;
    }

    double sum() {
        const Exponential<double, false, false> exponential({V{}, broadcast(-Exponents<S>::lift)});
        Accumulator<double> total;
        Bits<double> infinite{};
        for (size_t begin = 0; begin < p.row.length; begin += entropy_block) {
            const size_t count = fetch(begin);
            for_vectors<double>(count, [&](size_t i, size_t lanes) {
                const Element a = element(i, lanes, exponential);
                const V probability = share_of(a.x, p_max(), p_share, exponential);
                const V apart = ((a.x - p_max()) - (a.y - q_max())) - log_ratio;
                const V d = near ? a.v - c : apart;
                const Bits<double> nothing = probability == 0;
                const V large = multiply_add(probability, (nothing ? V{} : d) - 1, a.q);
                V term = nothing ? a.q : large;
                const Bits<double> small = (d <= 1) & (d >= -1) & ~nothing;
                if (any(small)) term = small ? a.q * small_divergence(small ? d : V{}) : term;
                infinite |= ~a.gone & (term == infinity);
                total.add(Rounded<double>{a.gone ? V{} : term, V{}});
            });
            total.settle();
        }
        const auto sum = total.along();
        return any(infinite) ? infinity : sum.head[0] + sum.rest[0];
    }
};

// Of a row of p and a row of q, whose mask is that of p.
template <class S>
void divergence_row(const Row &p, const Row &q, const Context &) {
    write_one<S>(Divergence<S>(p, q).divergence(), p);
}

}  // namespace stablesoftmax::LEVEL
