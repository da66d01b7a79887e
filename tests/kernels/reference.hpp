// What the results must be: the contract in long double, and how far a result may lie from it.
#pragma once

#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "kernels.hpp"

namespace reference {

using stablesoftmax::Format;
using stablesoftmax::Operation;
using stablesoftmax::Undefined;
using Real = long double;

constexpr Real infinity = INFINITY, nan = NAN;

// ---------------------------------------------------------------------------------------------
// Formats

struct Places {
    int digits, lowest, highest;  // bits of the significand; exponents of the normal numbers
};

inline Places places(Format format) {
    constexpr Places all[] = {{24, -126, 127}, {53, -1022, 1023}, {11, -14, 15}, {8, -126, 127}};
    return all[static_cast<size_t>(format)];
}

// One unit in the last place at `value`.
inline Real unit(Format format, Real value) {
    const Places p = places(format);
    int exponent = value == 0 ? p.lowest : std::ilogb(value);
    return std::ldexp(Real(1), (exponent < p.lowest ? p.lowest : exponent) - p.digits + 1);
}

// The nearest number of the format, ties to even.
inline double rounded(Format format, Real value) {
    if (!std::isfinite(value)) return static_cast<double>(value);
    const Real step = unit(format, value);
    value = std::copysign(std::rint(value / step) * step, value);
    const bool beyond = std::fabs(value) >= std::ldexp(Real(1), places(format).highest + 1);
    return static_cast<double>(beyond ? std::copysign(infinity, value) : value);
}

// `value` is a number of the format.
inline void encode(Format format, double value, void *to) {
    const float single = static_cast<float>(value);
    uint32_t bits;
    std::memcpy(&bits, &single, 4);
    uint16_t half = static_cast<uint16_t>(bits >> 16);
    if (format == Format::float16) {
        const double size = std::fabs(value);
        int exponent = size < 0x1p-14 ? -14 : std::ilogb(size);
        half = std::isnan(value)  ? 0x7e00
               : std::isinf(size) ? 0x7c00
                                  : static_cast<uint16_t>(std::ldexp(size, 10 - exponent) + (exponent + 14) * 1024);
        half |= std::signbit(value) ? 0x8000 : 0;
    }
    if (format == Format::float64)
        std::memcpy(to, &value, 8);
    else if (format == Format::float32)
        std::memcpy(to, &single, 4);
    else
        std::memcpy(to, &half, 2);
}

inline double decode(Format format, const void *from) {
    double value;
    float single;
    uint16_t half;
    switch (format) {
        case Format::float64: std::memcpy(&value, from, 8); return value;
        case Format::float32: std::memcpy(&single, from, 4); return single;
        case Format::bfloat16: {
            std::memcpy(&half, from, 2);
            uint32_t bits = static_cast<uint32_t>(half) << 16;
            std::memcpy(&single, &bits, 4);
            return single;
        }
        case Format::float16: break;
    }
    std::memcpy(&half, from, 2);
    const int exponent = half >> 10 & 31, fraction = half & 1023;
    value = exponent == 31 ? (fraction ? NAN : INFINITY)
            : exponent     ? std::ldexp(1024 + fraction, exponent - 25)
                           : std::ldexp(fraction, -24);
    return half & 0x8000 ? -value : value;
}

// The distance of a result from the exact value in units of the exact value's last place. Beyond the
// format's range the exact value counts as the first power of two out of it, as does an infinity.
inline double ulps(Format format, double result, Real exact) {
    if (std::isnan(exact) || std::isinf(exact)) {
        const bool same = std::isnan(exact) ? std::isnan(result) : result == exact;
        return same ? 0 : HUGE_VAL;
    }
    if (std::isnan(result)) return HUGE_VAL;
    const Real end = std::ldexp(Real(1), places(format).highest + 1);
    auto within = [end](Real v) { return v > end ? end : v < -end ? -end : v; };
    const Real target = within(exact);
    const Real step = std::fabs(target) == end ? unit(format, target / 2) : unit(format, target);
    return static_cast<double>(std::fabs(within(result) - target) / step);
}

// ---------------------------------------------------------------------------------------------
// The three functions

struct Results {
    std::vector<Real> softmax, log_softmax;
    Real logsumexp = -infinity;
    Real size = 0;       // |m| + log1p(r), what logsumexp is a sum of
    Real condition = 1;  // of logsumexp: size / |result|; infinite where Real cancels to 0
};

// A sum that carries its own rounding (Neumaier).
class Sum {
    Real head = 0, rest = 0;

  public:
    void add(Real term) {
        Real sum = head + term;
        rest += std::fabs(head) >= std::fabs(term) ? (head - sum) + term : (term - sum) + head;
        head = sum;
    }
    Real value() const { return head + rest; }
};

// (x - m) / temperature as head + rest: 745 in one long double would be good to 0.35 ULP only of the
// float64 exponential.
struct Gap {
    Real head, rest;

    Gap(Real x, Real m, Real temperature) {
        Real difference = x - m, part = difference - x;
        Real error = (x - (difference - part)) + (-m - part);
        head = difference / temperature;
        rest = temperature == 1 ? error : (std::fma(-head, temperature, difference) + error) / temperature;
        if (temperature == 0 || std::isinf(temperature) || std::isinf(x)) rest = 0;
        if (difference == 0 || std::isinf(temperature)) head = 0;
        if (x == -infinity) head = -infinity;
    }
    Real exp() const { return std::exp(head) * (1 + rest); }
};

// Rows that have no sum: contract section 3.
inline Results degenerate(const std::vector<double> &x, const std::vector<char> &in, Undefined undefined) {
    size_t included = 0, peaks = 0;
    bool has_nan = false;
    for (size_t i = 0; i < x.size(); ++i) {
        included += in[i];
        peaks += in[i] && x[i] == INFINITY;
        has_nan |= in[i] && std::isnan(x[i]);
    }
    const Real peak = peaks ? infinity : -infinity;
    Real share = nan, log_share = nan;
    if (!has_nan && (peaks == 1 || undefined == Undefined::uniform)) {
        const size_t tied = peaks ? peaks : included;
        share = Real(1) / static_cast<Real>(tied);
        log_share = 0 - std::log(static_cast<Real>(tied));
    } else if (!has_nan && undefined == Undefined::zero) {
        share = 0;
        log_share = -infinity;
    }
    Results results;
    for (size_t i = 0; i < x.size(); ++i) {
        const bool chosen = in[i] && (has_nan || x[i] == peak);
        results.softmax.push_back(chosen ? share : 0);
        results.log_softmax.push_back(chosen ? log_share : -infinity);
    }
    results.logsumexp = has_nan ? nan : peak;
    return results;
}

// `in`: which elements take part. The logsumexp is that of temperature 1.
inline Results exact(const std::vector<double> &x, const std::vector<char> &in, Real temperature,
                     Undefined undefined) {
    Real max = -infinity;
    bool has_nan = false;
    size_t at = 0;
    for (size_t i = 0; i < x.size(); ++i) {
        if (in[i] && x[i] > max) max = x[at = i];
        has_nan |= in[i] && std::isnan(x[i]);
    }
    if (has_nan || std::isinf(max)) return degenerate(x, in, undefined);

    std::vector<Real> terms(x.size());
    Sum others;
    for (size_t i = 0; i < x.size(); ++i) {
        terms[i] = in[i] ? Gap(x[i], max, temperature).exp() : 0;
        if (i != at) others.add(terms[i]);
    }
    const Real r = others.value(), logarithm = std::log1p(r);
    Results results;
    for (size_t i = 0; i < x.size(); ++i) {
        Gap gap(x[i], max, temperature);
        results.softmax.push_back(terms[i] / (1 + r));
        results.log_softmax.push_back(in[i] ? gap.head + (gap.rest - logarithm) : -infinity);
    }
    results.logsumexp = max + logarithm;
    results.size = std::fabs(max) + logarithm;
    if (results.size != 0) results.condition = results.size / std::fabs(results.logsumexp);
    return results;
}

// The contract's section 4, in ULP.
inline double limit(Operation operation, Format format, Real temperature, Real condition) {
    const double kappa = operation == Operation::logsumexp ? static_cast<double>(condition) : 1;
    if (stablesoftmax::item_size(format) == 2) return kappa <= 16 ? 0.51 : 0.5 + 0.01 * kappa / 16;
    const double base = operation == Operation::softmax ? 2.0 : 1.5;
    return base * kappa + (temperature == 1 ? 0 : 1);
}

}  // namespace reference
