// Lanes: the one vector width of an instruction set, and about thirty operations on it.
//
// Arithmetic, comparison and `mask ? a : b` are the compiler's own vector extensions. What they
// cannot say (fused multiply-add, NaN-dropping maximum, conversions, partial loads) is here, once
// per instruction set. Everything lives in a namespace of its own per level, so that no function
// compiled for one level can be linked into another.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "storage.hpp"

#define INLINE inline __attribute__((always_inline))

namespace stablesoftmax::LEVEL {

#if defined(__AVX512F__)
constexpr size_t vector_bytes = 64;
#elif defined(__AVX2__)
constexpr size_t vector_bytes = 32;
#else
constexpr size_t vector_bytes = 16;
#endif

#if defined(__FMA__) || defined(__aarch64__)
constexpr bool has_fma = true;
#else
constexpr bool has_fma = false;
#endif

#if defined(__AVX512F__)
constexpr bool has_table = true;  // a 16-entry look-up in one instruction, and a scaling by 2^n
#else
constexpr bool has_table = false;
#endif

template <class T>
struct Lanes;

template <>
struct Lanes<float> {
    using Vector = float __attribute__((vector_size(vector_bytes)));
    using Bits = int32_t __attribute__((vector_size(vector_bytes)));
    using Unsigned = uint32_t __attribute__((vector_size(vector_bytes)));
    static constexpr size_t count = vector_bytes / sizeof(float);
};

template <>
struct Lanes<double> {
    using Vector = double __attribute__((vector_size(vector_bytes)));
    using Bits = int64_t __attribute__((vector_size(vector_bytes)));
    using Unsigned = uint64_t __attribute__((vector_size(vector_bytes)));
    static constexpr size_t count = vector_bytes / sizeof(double);
};

template <class T>
using Vector = typename Lanes<T>::Vector;
template <class T>
using Bits = typename Lanes<T>::Bits;

template <class T>
INLINE Vector<T> broadcast(T value) {
    return value - Vector<T>{};  // value - 0 keeps the sign of -0, where value + 0 would not
}

template <class T>
INLINE Bits<T> bits_of(Vector<T> v) {
    return reinterpret_cast<Bits<T>>(v);
}

template <class T>
INLINE Vector<T> from_bits(Bits<T> b) {
    return reinterpret_cast<Vector<T>>(b);
}

// a + b, wrapping: a NaN's bits plus a constant may leave the signed range.
template <class T>
INLINE Bits<T> wrapping_sum(Bits<T> a, Bits<T> b) {
    using Unsigned = typename Lanes<T>::Unsigned;
    return reinterpret_cast<Bits<T>>(reinterpret_cast<Unsigned>(a) + reinterpret_cast<Unsigned>(b));
}

// 0, 1, 2, ... in the integer lanes.
template <class T>
INLINE Bits<T> lane_numbers() {
    Bits<T> numbers{};
    for (size_t j = 0; j < Lanes<T>::count; ++j) numbers[j] = j;
    return numbers;
}

template <class V, size_t half, size_t... lane>
INLINE V swap_halves(V v, std::index_sequence<lane...>) {
    return __builtin_shufflevector(v, v, static_cast<int>(lane ^ half)...);
}

// Fold the lanes by halving: f(lane j, lane j + W/2), and so on. Every lane holds the result.
template <class T, class Item, class Swap, class Function>
INLINE Item fold_lanes(Item v, Swap swap, Function f) {
    if constexpr (Lanes<T>::count == 16) v = f(v, swap(v, std::integral_constant<size_t, 8>{}));
    if constexpr (Lanes<T>::count >= 8) v = f(v, swap(v, std::integral_constant<size_t, 4>{}));
    if constexpr (Lanes<T>::count >= 4) v = f(v, swap(v, std::integral_constant<size_t, 2>{}));
    return f(v, swap(v, std::integral_constant<size_t, 1>{}));
}

// Lane j takes what lane j ^ half had.
template <class T, size_t half>
INLINE Vector<T> swapped(Vector<T> v, std::integral_constant<size_t, half>) {
    return swap_halves<Vector<T>, half>(v, std::make_index_sequence<Lanes<T>::count>{});
}

// v in the first `count` lanes, 0 or `other` in the others, whatever they hold.
template <class T>
INLINE Vector<T> first_lanes(Vector<T> v, size_t count, T other = 0) {
    Bits<T> keep = lane_numbers<T>() < static_cast<decltype(Bits<T>{}[0] + 0)>(count);
    return keep ? v : broadcast(other);
}

template <class Mask>
INLINE bool any(Mask mask) {
#if defined(__AVX512F__)
    return _mm512_test_epi32_mask(reinterpret_cast<__m512i>(mask), reinterpret_cast<__m512i>(mask));
#elif defined(__AVX2__)
    return _mm256_movemask_epi8(reinterpret_cast<__m256i>(mask));
#elif defined(__x86_64__)
    return _mm_movemask_epi8(reinterpret_cast<__m128i>(mask));
#else
    return vmaxvq_u32(reinterpret_cast<uint32x4_t>(mask)) != 0;
#endif
}

// ---------------------------------------------------------------------------------------------
// a·b + c, rounded once where the level has the instruction, twice where it has not (x86-64-v2).

INLINE Vector<float> multiply_add(Vector<float> a, Vector<float> b, Vector<float> c) {
#if defined(__AVX512F__)
    return _mm512_fmadd_ps(a, b, c);
#elif defined(__FMA__)
    return _mm256_fmadd_ps(a, b, c);
#elif defined(__aarch64__)
    return vfmaq_f32(c, a, b);
#else
    return a * b + c;
#endif
}

INLINE Vector<double> multiply_add(Vector<double> a, Vector<double> b, Vector<double> c) {
#if defined(__AVX512F__)
    return _mm512_fmadd_pd(a, b, c);
#elif defined(__FMA__)
    return _mm256_fmadd_pd(a, b, c);
#elif defined(__aarch64__)
    return vfmaq_f64(c, a, b);
#else
    return a * b + c;
#endif
}

template <class T>
struct Pair {  // an unevaluated sum, |tail| small beside |head|
    Vector<T> head, tail;
};

// head + tail = a + b exactly, in any order of magnitude (Knuth).
template <class T>
INLINE Pair<T> two_sum(Vector<T> a, Vector<T> b) {
    Vector<T> sum = a + b;
    Vector<T> part = sum - a;
    return {sum, (a - (sum - part)) + (b - part)};
}

// head + tail = a·b exactly, short of overflow (|a| < 2^114, 2^995) and of underflow of the tail.
template <class T>
INLINE Pair<T> two_product(Vector<T> a, Vector<T> b) {
    Vector<T> product = a * b;
    if constexpr (has_fma) {
        return {product, multiply_add(a, b, -product)};
    } else {  // Dekker, by Veltkamp's splitting of each factor into two halves
        constexpr T splitter = sizeof(T) == 4 ? T(4097) : T(134217729);
        Vector<T> ca = a * splitter, cb = b * splitter;
        Vector<T> a_high = ca - (ca - a), b_high = cb - (cb - b);
        Vector<T> a_low = a - a_high, b_low = b - b_high;
        Vector<T> rest = a_high * b_high - product + a_high * b_low + a_low * b_high;
        return {product, rest + a_low * b_low};
    }
}

// The larger; where `value` is NaN, `so_far`: a NaN shows in the sum, never here.
INLINE Vector<float> maximum(Vector<float> value, Vector<float> so_far) {
#if defined(__AVX512F__)
    return _mm512_max_ps(value, so_far);
#elif defined(__AVX2__)
    return _mm256_max_ps(value, so_far);
#elif defined(__x86_64__)
    return _mm_max_ps(value, so_far);
#else
    return vmaxnmq_f32(value, so_far);
#endif
}

INLINE Vector<double> maximum(Vector<double> value, Vector<double> so_far) {
#if defined(__AVX512F__)
    return _mm512_max_pd(value, so_far);
#elif defined(__AVX2__)
    return _mm256_max_pd(value, so_far);
#elif defined(__x86_64__)
    return _mm_max_pd(value, so_far);
#else
    return vmaxnmq_f64(value, so_far);
#endif
}

INLINE Vector<float> minimum(Vector<float> value, Vector<float> so_far) {
#if defined(__AVX512F__)
    return _mm512_min_ps(value, so_far);
#elif defined(__AVX2__)
    return _mm256_min_ps(value, so_far);
#elif defined(__x86_64__)
    return _mm_min_ps(value, so_far);
#else
    return vminnmq_f32(value, so_far);
#endif
}

INLINE Vector<double> minimum(Vector<double> value, Vector<double> so_far) {
#if defined(__AVX512F__)
    return _mm512_min_pd(value, so_far);
#elif defined(__AVX2__)
    return _mm256_min_pd(value, so_far);
#elif defined(__x86_64__)
    return _mm_min_pd(value, so_far);
#else
    return vminnmq_f64(value, so_far);
#endif
}

// The larger; NaN where `value` is NaN.
template <class T>
INLINE Vector<T> at_least(Vector<T> value, Vector<T> least) {
    return value < least ? least : value;
}

// ---------------------------------------------------------------------------------------------
// float lanes <-> double lanes: one vector of floats is two of doubles.

struct Wide {
    Vector<double> low, high;  // the first half of the lanes, and the second
};

INLINE Wide widen(Vector<float> v) {
#if defined(__AVX512F__)
    // Through memory: from a register each conversion needs a shuffle on the one port that the
    // table look-ups and masks use already. (Seven instructions become five.)
    Wide w;
    __asm__("vcvtps2pd %1, %0" : "=v"(w.low) : "m"(reinterpret_cast<const __m256 *>(&v)[0]));
    __asm__("vcvtps2pd %1, %0" : "=v"(w.high) : "m"(reinterpret_cast<const __m256 *>(&v)[1]));
    return w;
#elif defined(__AVX2__)
    return {_mm256_cvtps_pd(_mm256_castps256_ps128(v)), _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1))};
#elif defined(__x86_64__)
    return {_mm_cvtps_pd(v), _mm_cvtps_pd(_mm_movehl_ps(v, v))};
#else
    return {vcvt_f64_f32(vget_low_f32(v)), vcvt_high_f64_f32(v)};
#endif
}

INLINE Vector<float> narrow(Wide w) {
#if defined(__AVX512F__)
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(w.low)), _mm512_cvtpd_ps(w.high), 1);
#elif defined(__AVX2__)
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm256_cvtpd_ps(w.low)), _mm256_cvtpd_ps(w.high), 1);
#elif defined(__x86_64__)
    return _mm_movelh_ps(_mm_cvtpd_ps(w.low), _mm_cvtpd_ps(w.high));
#else
    return vcvt_high_f32_f64(vcvt_f32_f64(w.low), w.high);
#endif
}

// ---------------------------------------------------------------------------------------------
// What only the 512-bit level has, for exponential.hpp.

#if defined(__AVX512F__)
template <class T>
struct Table {  // sixteen entries
    Vector<T> part[sizeof(T) / 4];
};

// The entry that the low four bits of each lane of `index` name.
INLINE Vector<float> look_up(Bits<float> index, Table<float> table) {
    return _mm512_permutexvar_ps(reinterpret_cast<__m512i>(index), table.part[0]);
}

INLINE Vector<double> look_up(Bits<double> index, Table<double> table) {
    return _mm512_permutex2var_pd(table.part[0], reinterpret_cast<__m512i>(index), table.part[1]);
}

// v·2^floor(n).
INLINE Vector<float> scale(Vector<float> v, Vector<float> n) { return _mm512_scalef_ps(v, n); }
INLINE Vector<double> scale(Vector<double> v, Vector<double> n) { return _mm512_scalef_pd(v, n); }
#else
// v·2^n for whole n, built in the exponent field; something huge where the exponent would overflow. An
// unordered n keeps its NaN.
template <class T>
INLINE Vector<T> scale_by_bits(Vector<T> v, Vector<T> n) {
    constexpr int fraction = sizeof(T) == 4 ? 23 : 52;
    constexpr T bias = sizeof(T) == 4 ? 127 : 1023;
    // Adding 1.5·2^fraction + bias leaves n + bias in the low bits.
    constexpr T magic = (sizeof(T) == 4 ? T(0x1.8p23) : T(0x1.8p52)) + bias;
    return v * from_bits<T>(bits_of<T>(minimum(n, broadcast<T>(bias)) + magic) << fraction);
}

INLINE Vector<float> scale(Vector<float> v, Vector<float> n) { return scale_by_bits<float>(v, n); }
INLINE Vector<double> scale(Vector<double> v, Vector<double> n) { return scale_by_bits<double>(v, n); }
#endif

// ---------------------------------------------------------------------------------------------
// Memory. Any alignment; the partial ones touch `count` elements and no byte beyond them.

INLINE Vector<float> load(const float *p) {
    Vector<float> v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

INLINE Vector<double> load(const double *p) {
    Vector<double> v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

INLINE void store(float *p, Vector<float> v) { std::memcpy(p, &v, sizeof v); }
INLINE void store(double *p, Vector<double> v) { std::memcpy(p, &v, sizeof v); }

// The same as `widen` of what lies at p.
INLINE Wide load_wide(const float *p) {
#if defined(__AVX512F__)
    return {_mm512_cvtps_pd(_mm256_loadu_ps(p)), _mm512_cvtps_pd(_mm256_loadu_ps(p + 8))};
#else
    return widen(load(p));
#endif
}

using Bits16 = uint16_t __attribute__((vector_size(vector_bytes / 2)));

#if defined(__AVX512BW__)
// 0, 0, 1, 1, 2, 2, ...: where the upper half of each lane finds its word among the packed ones.
INLINE Bits<float> halved_words() {
    return lane_numbers<float>() * 0x10001;
}

// 1, 3, 5, ... in the first half: where the packed words find the upper halves of the lanes.
INLINE Bits<float> odd_words() {
    return lane_numbers<float>() * 0x40004 + 0x30001;
}
#endif

INLINE Vector<float> load(const bfloat16 *p) {
    Bits16 half;
    std::memcpy(&half, p, sizeof half);
#if defined(__AVX512BW__)
    // One shuffle for a widening and a shift.
    const __m512i words = _mm512_castsi256_si512(reinterpret_cast<__m256i>(half));
    return from_bits<float>(reinterpret_cast<Bits<float>>(
        _mm512_maskz_permutexvar_epi16(0xaaaaaaaa, reinterpret_cast<__m512i>(halved_words()), words)));
#else
    return from_bits<float>(__builtin_convertvector(half, Bits<float>) << 16);
#endif
}

// Ties to even. The one NaN that is ever stored is the quiet one, which rounds to itself: 0x7f800001
// would round to an infinity.
INLINE void store(bfloat16 *p, Vector<float> v) {
    Bits<float> b = bits_of<float>(v);
#if defined(__AVX512BW__)
    const __m512i raised = _mm512_add_epi32(reinterpret_cast<__m512i>(b), _mm512_set1_epi32(0x7fff));
    const __mmask16 odd = _mm512_test_epi32_mask(reinterpret_cast<__m512i>(b), _mm512_set1_epi32(0x10000));
    const __m512i rounded = _mm512_mask_add_epi32(raised, odd, raised, _mm512_set1_epi32(1));
    const __m512i words = _mm512_permutexvar_epi16(reinterpret_cast<__m512i>(odd_words()), rounded);
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(p), _mm512_castsi512_si256(words));
#else
    Bits<float> rounded = wrapping_sum<float>(b, 0x7fff + ((b >> 16) & 1));
    Bits16 half = __builtin_convertvector(rounded >> 16, Bits16);
    std::memcpy(p, &half, sizeof half);
#endif
}

INLINE Vector<float> load(const float16 *p) {
#if defined(__AVX512F__)
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(p)));
#elif defined(__F16C__)
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p)));
#elif defined(__aarch64__)
    float16x4_t half;
    std::memcpy(&half, p, sizeof half);
    return vcvt_f32_f16(half);
#else
    // The 15 low bits, moved up by 13, are the value times 2^-112; infinities and NaNs apart.
    Bits16 half;
    std::memcpy(&half, p, sizeof half);
    Bits<float> b = __builtin_convertvector(half, Bits<float>);
    Bits<float> magnitude = (b & 0x7fff) << 13;
    Bits<float> finite = bits_of<float>(from_bits<float>(magnitude) * 0x1p112f);
    Bits<float> value = magnitude >= 0x0f800000 ? magnitude | 0x7f800000 : finite;
    return from_bits<float>(value | ((b & 0x8000) << 16));
#endif
}

INLINE void store(float16 *p, Vector<float> v) {
#if defined(__AVX512F__)
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__F16C__)
    _mm_storeu_si128(reinterpret_cast<__m128i *>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__aarch64__)
    float16x4_t half = vcvt_f16_f32(v);
    std::memcpy(p, &half, sizeof half);
#else
    // Subnormal results by adding 0.5, whose last place is 2^-24; normal ones by integer rounding;
    // 65520 and beyond to infinity.
    Bits<float> b = bits_of<float>(v);
    Bits<float> sign = b & static_cast<int32_t>(0x80000000u);
    Bits<float> magnitude = b ^ sign;
    Bits<float> tiny = bits_of<float>(from_bits<float>(magnitude) + 0.5f) - 0x3f000000;
    Bits<float> normal = wrapping_sum<float>(magnitude, ((magnitude >> 13) & 1) - (0x38000000 - 0xfff)) >> 13;
    Bits<float> special = magnitude > 0x7f800000 ? (Bits<float>{} + 0x7e00) : (Bits<float>{} + 0x7c00);
    Bits<float> value = magnitude < 0x38800000 ? tiny : normal;
    value = magnitude >= 0x477ff000 ? special : value;
    Bits16 half = __builtin_convertvector(value | ((sign >> 16) & 0x8000), Bits16);
    std::memcpy(p, &half, sizeof half);
#endif
}

// The caches' own look-ahead stops at a page and starts late on a store: asked for these distances
// before, rows beyond the first cache run up to twice as fast. A prefetch never faults.
constexpr ptrdiff_t read_ahead = 2048, write_ahead = 1024;  // bytes

INLINE void expect_read(const void *p, ptrdiff_t ahead = read_ahead) {
    __builtin_prefetch(reinterpret_cast<const void *>(reinterpret_cast<uintptr_t>(p) + ahead), 0);
}

INLINE void expect_write(const void *p, ptrdiff_t ahead = write_ahead) {
    __builtin_prefetch(reinterpret_cast<const void *>(reinterpret_cast<uintptr_t>(p) + ahead), 1);
}

// The first `count` elements, at least one; the other lanes repeat the first element.
template <class S>
INLINE Vector<compute<S>> load_first(const S *p, size_t count) {
#if defined(__AVX512F__)
    if constexpr (sizeof(S) == 4) {
        return _mm512_mask_loadu_ps(_mm512_set1_ps(*p), (1u << count) - 1, p);
    } else if constexpr (sizeof(S) == 8) {
        return _mm512_mask_loadu_pd(_mm512_set1_pd(*p), (1u << count) - 1, p);
    }
#endif
    S padded[Lanes<compute<S>>::count];
    for (S &slot : padded) slot = *p;
    std::memcpy(padded, p, count * sizeof(S));
    return load(padded);
}

template <class S>
INLINE void store_first(S *p, Vector<compute<S>> v, size_t count) {
#if defined(__AVX512F__)
    if constexpr (sizeof(S) == 4) {
        return _mm512_mask_storeu_ps(p, (1u << count) - 1, v);
    } else if constexpr (sizeof(S) == 8) {
        return _mm512_mask_storeu_pd(p, (1u << count) - 1, v);
    }
#endif
    S padded[Lanes<compute<S>>::count];
    store(padded, v);
    std::memcpy(p, padded, count * sizeof(S));
}

// Call f(offset, lanes in use) for each vector of `count` elements.
template <class T, class Function>
INLINE void for_vectors(size_t count, Function f) {
    constexpr size_t W = Lanes<T>::count;
    size_t i = 0;
    for (; i + W <= count; i += W) f(i, W);
    if (i < count) f(i, count - i);
}

// The same, each vector but the first at an aligned place of y: a store across two cache lines costs
// twice, and the order of independent results is free.
template <class T, class Out, class Function>
INLINE void for_aligned_vectors(const Out *y, size_t count, Function f) {
    constexpr size_t W = Lanes<T>::count, bytes = W * sizeof(Out);
    size_t first = (bytes - reinterpret_cast<uintptr_t>(y) % bytes) % bytes / sizeof(Out);
    if (first > count) first = count;
    if (first > 0) f(0, first);
    for_vectors<T>(count - first, [=](size_t i, size_t lanes) __attribute__((always_inline)) { f(first + i, lanes); });
}

template <class S>
INLINE Vector<compute<S>> load_lanes(const S *p, size_t lanes) {
    return lanes == Lanes<compute<S>>::count ? load(p) : load_first(p, lanes);
}

template <class S>
INLINE void store_lanes(S *p, Vector<compute<S>> v, size_t lanes) {
    lanes == Lanes<compute<S>>::count ? store(p, v) : store_first(p, v, lanes);
}

}  // namespace stablesoftmax::LEVEL
