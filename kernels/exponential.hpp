// exp and log1p cores.
//
//   exponential   exp(x + low - center)·2^-exponent, unrounded, by lanes
//     domain      any x; the result is right where it lies in [2^-99, 2^127) (float32),
//                 [2^-959, 2^1023) (float64), and at most 2^-99 (2^-959) below, of -inf too
//     specials    NaN -> NaN; above the domain at least 2^126, infinite or NaN
//     worst error 0.57 ULP once rounded (x = 0x1.9f68cap+5f), 0.2 before; if coarse 2^-21 relative
//   log1p         log(1 + head + tail) for head >= 0, by double lanes, as a pair
//
// The coefficients come from reference/exponential.py.
#pragma once

#include "vector.hpp"

namespace stablesoftmax::LEVEL {

// What is subtracted before exp, and the power of two that is divided out after it.
//
// `center` is 0 or so near every element that matters that x - center is exact: rounding x - max
// is what costs others 65 ULP in float32 (max 50, x = -9.9: half an ulp of 60 is 2^-19).
template <class T>
struct Shift {
    Vector<T> center, exponent;
};

template <class T>
struct Reduction;

template <>
struct Reduction<float> {
    // n is a multiple of 1/16 with a table, else whole: magic's last place is that unit.
    static constexpr float magic = has_table ? 0x1.8p19f : 0x1.8p23f;
    static constexpr float log2e = 0x1.715476p+0f;
    // Without FMA n·head must be exact: n has at most 10 bits, so head has 13.
    static constexpr float ln2_head = has_fma ? 0x1.62e430p-1f : 0x1.62ep-1f;
    static constexpr float ln2_tail = has_fma ? -0x1.05c610p-29f : 0x1.0bfbe8p-15f;
    // What rounding drops, 2^-25 of it, is normal; and no multiple of ln 2 lies there, whose rest would not be.
    static constexpr float lowest = -99.75;
    static constexpr float table_range = 90;
};

template <>
struct Reduction<double> {
    static constexpr double magic = has_table ? 0x1.8p48 : 0x1.8p52;
    static constexpr double log2e = 0x1.71547652b82fep+0;
    static constexpr double ln2_head = has_fma ? 0x1.62e42fefa39efp-1 : 0x1.62e42fefap-1;
    static constexpr double ln2_tail = has_fma ? 0x1.abc9e3b39803fp-56 : 0x1.cf79abc9e3b3ap-40;
    static constexpr double lowest = -959.75;
    static constexpr double table_range = 900;
};

// Horner's scheme, highest power first.
template <class T, class... Coefficients>
INLINE Vector<T> polynomial(Vector<T> r, T first, Coefficients... rest) {
    Vector<T> sum = broadcast<T>(first);
    ((sum = multiply_add(sum, r, broadcast<T>(rest))), ...);
    return sum;
}

#if defined(__AVX512F__)
// 2^(j/16): rounded, and what the rounding left.
alignas(64) constexpr float table_f32[16] = {
    0x1.000000p+0f, 0x1.0b5586p+0f, 0x1.172b84p+0f, 0x1.2387a6p+0f, 0x1.306fe0p+0f, 0x1.3dea64p+0f,
    0x1.4bfdaep+0f, 0x1.5ab07ep+0f, 0x1.6a09e6p+0f, 0x1.7a1148p+0f, 0x1.8ace54p+0f, 0x1.9c4918p+0f,
    0x1.ae89fap+0f, 0x1.c199bep+0f, 0x1.d5818ep+0f, 0x1.ea4afap+0f};
alignas(64) constexpr float rest_f32[16] = {
    0x0.0p+0f, 0x1.8d96d4p-25f, -0x1.9c0c22p-27f, 0x1.964904p-25f,
    0x1.125002p-25f, 0x1.370be4p-25f, -0x1.0a355p-25f, -0x1.00d8acp-27f,
    0x1.26055cp-26f, -0x1.05cb44p-25f, 0x1.67a1cap-28f, 0x1.a3b5e4p-28f,
    -0x1.f9c304p-27f, -0x1.6961b4p-28f, -0x1.a5217cp-28f, 0x1.61428ep-28f};
alignas(64) constexpr double table_f64[16] = {
    0x1.0000000000000p+0, 0x1.0b5586cf9890fp+0, 0x1.172b83c7d517bp+0, 0x1.2387a6e756238p+0,
    0x1.306fe0a31b715p+0, 0x1.3dea64c123422p+0, 0x1.4bfdad5362a27p+0, 0x1.5ab07dd485429p+0,
    0x1.6a09e667f3bcdp+0, 0x1.7a11473eb0187p+0, 0x1.8ace5422aa0dbp+0, 0x1.9c49182a3f090p+0,
    0x1.ae89f995ad3adp+0, 0x1.c199bdd85529cp+0, 0x1.d5818dcfba487p+0, 0x1.ea4afa2a490dap+0};
alignas(64) constexpr double rest_f64[16] = {
    0x0.0p+0, 0x1.79aa65d837b6dp-54, -0x1.01b15eaa59348p-55,
    0x1.68efde3a8a894p-54, 0x1.34d754db0abb6p-55, 0x1.59f48a72a4c6dp-55,
    0x1.690cebb7aafbp-56, 0x1.063e1e21c5409p-54, -0x1.3b3efbf5e2228p-54,
    -0x1.b32dcb94da51dp-56, 0x1.db72fc1f0eab4p-55, 0x1.1affc2b91ce27p-56,
    0x1.c1a7792cb3387p-55, 0x1.36eae30af0cb3p-56, 0x1.4a385a63d07a7p-56,
    -0x1.ff7128fd391fp-55};

INLINE Table<float> table_of(const float *p) { return {{load(p)}}; }
INLINE Table<double> table_of(const double *p) { return {{load(p), load(p + 8)}}; }

// 2^(j/16), rounded, and what the rounding left, relative to it; `lower` divides by a power of two.
template <class T>
struct Powers {
    Table<T> head, rest;

    static INLINE Powers of_two() {
        Powers powers;
        if constexpr (sizeof(T) == 4)
            powers = {table_of(table_f32), table_of(rest_f32)};
        else
            powers = {table_of(table_f64), table_of(rest_f64)};
        return powers;
    }

    INLINE void lower(Vector<T> exponent) {
        for (Vector<T> &part : head.part) part = scale(part, -exponent);
    }
};

// What exp leaves before its last rounding: head·(1 + rest).
template <class T>
struct Term {
    Vector<T> head, rest;
    INLINE Vector<T> plus_rest(Vector<T> to) const { return multiply_add(head, rest, to); }
    INLINE Vector<T> value() const { return plus_rest(head); }
};

// exp(r)·2^(j/16), times the powers' own scale, for |r| <= ln 2 / 32 and j in the low four bits of
// `index`. r is small enough for its own rounding to be lost on the result. Coarse: 2^(j/16) as rounded.
template <bool coarse>
INLINE Term<float> reduced_exp(Vector<float> r, Vector<float>, Bits<float> index, Powers<float> powers) {
    Vector<float> slope = polynomial<float>(r, 0x1.55563ap-3f, 0x1.00022p-1f, 1.0f);
    Vector<float> head = look_up(index, powers.head);
    return {head, coarse ? r * slope : multiply_add(r, slope, look_up(index, powers.rest))};
}

template <bool>
INLINE Term<double> reduced_exp(Vector<double> r, Vector<double>, Bits<double> index, Powers<double> powers) {
    Vector<double> slope = polynomial<double>(r, 0x1.a018f5d6b4a08p-13, 0x1.6c183e1b6fe7cp-10,
                                              0x1.1111111270388p-7, 0x1.555555548495ep-5,
                                              0x1.5555555555544p-3, 0x1.0000000000004p-1, 1.0);
    return {look_up(index, powers.head), multiply_add(r, slope, look_up(index, powers.rest))};
}

template <class T>
INLINE Term<T> scaled(Term<T> e, Vector<T> n) {
    return {scale(e.head, n), e.rest};
}
#else
template <class T>
struct Powers {
    static INLINE Powers of_two() { return {}; }
    INLINE void lower(Vector<T>) {}
};

// What exp leaves before its last rounding: head + rest.
template <class T>
struct Term {
    Vector<T> head, rest;
    INLINE Vector<T> plus_rest(Vector<T> to) const { return to + rest; }
    INLINE Vector<T> value() const { return plus_rest(head); }
};

// exp(r + rest) for |r| <= ln 2 / 2; 1 + r is kept as a pair, so that what is rounded is small. Coarse:
// a lower degree, and no pair.
template <bool coarse>
INLINE Term<float> reduced_exp(Vector<float> r, Vector<float> rest, Bits<float>, Powers<float>) {
    if constexpr (coarse) {
        Vector<float> slope = polynomial<float>(r, 0x1.1064e6p-7f, 0x1.572afep-5f, 0x1.5557acp-3f, 0x1.fffdfap-2f, 1.0f);
        return {multiply_add(r, slope, broadcast(1.0f)), Vector<float>{}};
    }
    Vector<float> q = polynomial<float>(r, 0x1.6a496p-10f, 0x1.1239ap-7f, 0x1.5558b4p-5f,
                                        0x1.555492p-3f, 0x1.fffffcp-2f);
    Vector<float> head = 1 + r;
    return {head, multiply_add(r * r, q, (r - (head - 1)) + rest)};
}

template <bool>
INLINE Term<double> reduced_exp(Vector<double> r, Vector<double> rest, Bits<double>, Powers<double>) {
    Vector<double> q = polynomial<double>(
        r, 0x1.ad967b444c7d8p-26, 0x1.28adb22a3b543p-22, 0x1.71df13a70b9c4p-19,
        0x1.a01999bcbf563p-16, 0x1.a01a01345eaf7p-13, 0x1.6c16c18451880p-10, 0x1.1111111125443p-7,
        0x1.5555555550754p-5, 0x1.5555555555508p-3, 0x1.000000000000ap-1);
    Vector<double> head = 1 + r;
    return {head, multiply_add(r * r, q, (r - (head - 1)) + rest)};
}

template <class T>
INLINE Term<T> scaled(Term<T> e, Vector<T> n) {
    return {scale(e.head, n), scale(e.rest, n)};
}
#endif

// The term, or 0 where it is left out.
template <class T>
INLINE Term<T> without(Term<T> e, Bits<T> left_out) {
    return {left_out ? Vector<T>{} : e.head, left_out ? Vector<T>{} : e.rest};
}

// A shift made ready for a loop. `plain`: no center, and an exponent that the table of powers can
// take up; two operations less an element, the same bits. `coarse`: for results of 16 bits, which see
// nothing beyond 2^-18.
template <class T, bool plain, bool coarse>
struct Exponential {
    using R = Reduction<T>;

    Shift<T> shift;
    Vector<T> floor;  // of x - center: below, the result is as good as 0
    Powers<T> powers;

    INLINE Exponential() = default;
    INLINE explicit Exponential(Shift<T> shift)
        : shift(shift), floor((shift.exponent + R::lowest) * R::ln2_head), powers(Powers<T>::of_two()) {
        if constexpr (plain) powers.lower(shift.exponent);
    }

    // Whether a plain one serves this shift.
    static INLINE bool is_plain(Shift<T> s) {
        return s.center[0] == 0 && s.exponent[0] <= R::table_range && s.exponent[0] >= -R::table_range;
    }

    // `low` is added to x unrounded: what a division by the temperature left over.
    template <bool with_low>
    INLINE Term<T> term(Vector<T> x, Vector<T> low) const {
        Vector<T> distance = plain ? x : x - shift.center, d = at_least<T>(distance, floor);
        Vector<T> shifted = multiply_add(d, broadcast<T>(R::log2e), broadcast<T>(R::magic));
        Vector<T> n = shifted - R::magic;
        Vector<T> r = multiply_add(n, broadcast<T>(-R::ln2_head), d), rest{};
        if constexpr (with_low) r += distance < floor ? Vector<T>{} : low;
        if constexpr (!coarse || !has_fma) {  // without FMA the head alone has 13 bits
            Vector<T> rough = r;
            r = multiply_add(n, broadcast<T>(-R::ln2_tail), rough);
            if constexpr (!coarse && !has_table) rest = multiply_add(n, broadcast<T>(-R::ln2_tail), rough - r);
        }
        Term<T> e = reduced_exp<coarse>(r, rest, bits_of<T>(shifted), powers);
        return scaled<T>(e, plain && has_table ? n : n - shift.exponent);
    }

    // Whether x is below the floor.
    INLINE Bits<T> is_nothing(Vector<T> x) const { return x - shift.center < floor; }

    INLINE Vector<T> value_or_zero(Vector<T> x) const {
        return is_nothing(x) ? Vector<T>{} : value<false>(x, Vector<T>{});
    }

    template <bool with_low>
    INLINE Vector<T> value(Vector<T> x, Vector<T> low) const {
        return term<with_low>(x, low).value();
    }
};

// log(1 + head + tail), |tail| <= ulp(head), as k·ln 2 + log(1 + f) with sqrt(1/2) < 1 + f < sqrt 2
// and log(1 + f) = f - (f²/2 - s·(f²/2 + R(s²))), s = f / (2 + f). R is a minimax fit of
// (log((1 + s) / (1 - s)) - 2 s) / s with seven terms (Sun's fdlibm).
INLINE Pair<double> log1p(Vector<double> head, Vector<double> tail) {
    Pair<double> u = two_sum<double>(broadcast<double>(1), head);
    Vector<double> rest = (u.tail + tail) / u.head;
    // The k for which u.head / 2^k lies in [sqrt(1/2), sqrt 2).
    constexpr int64_t one = 0x3ff0000000000000, sqrt_half = 0x3fe6a09e667f3bcd;
    Bits<double> bits = wrapping_sum<double>(bits_of<double>(u.head), Bits<double>{} + (one - sqrt_half));
    Bits<double> mantissa = (bits & 0x000fffffffffffff) + sqrt_half;
    Vector<double> k = from_bits<double>((bits >> 52) - 1023 + 0x4338000000000000) - 0x1.8p52;
    Vector<double> f = from_bits<double>(mantissa) - 1;
    Vector<double> s = f / (2 + f);
    Vector<double> z = s * s;
    Vector<double> R = z * polynomial<double>(z, 1.479819860511658591e-01, 1.531383769920937332e-01,
                                              1.818357216161805012e-01, 2.222219843214978396e-01,
                                              2.857142874366239149e-01, 3.999999999940941908e-01,
                                              6.666666666666735130e-01);
    Vector<double> half_square = 0.5 * f * f;
    Vector<double> correction = s * (half_square + R) + (k * 1.90821492927058770002e-10 + rest);
    Pair<double> sum = two_sum<double>(k * 6.93147180369123816490e-01, f);
    return {sum.head, sum.tail + (correction - half_square)};
}

}  // namespace stablesoftmax::LEVEL
