// The operations of vector.hpp that the rest stands on, for one level: LEVEL is set by the build.
#include "vector.hpp"

#include <cmath>
#include <limits>

#include "check.hpp"
#include "fence.hpp"
#include "reference.hpp"

namespace stablesoftmax::LEVEL {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();

template <class S>
constexpr Format format_of = sizeof(S) == 8 ? Format::float64 : Format::float32;
template <>
constexpr Format format_of<float16> = Format::float16;
template <>
constexpr Format format_of<bfloat16> = Format::bfloat16;

// The same, or both NaN; the sign of zero counts.
bool same(double a, double b) {
    return std::isnan(a) ? std::isnan(b) : a == b && std::signbit(a) == std::signbit(b);
}

// What an element of S becomes on its way through a store and back, in lane `lane` of a vector of others.
template <class S>
uint16_t stored(float value, size_t lane) {
    Vector<float> v = broadcast(1.0f);
    v[lane] = value;
    S memory[Lanes<float>::count];
    store(memory, v);
    return memory[lane].bits;
}

// All patterns are read as what they are, and written back as themselves; NaNs as some NaN.
template <class S>
void test_patterns() {
    constexpr size_t W = Lanes<float>::count;
    for (uint32_t first = 0; first < 65536; first += W) {
        S memory[W], back[W];
        for (size_t j = 0; j < W; ++j) memory[j].bits = static_cast<uint16_t>(first + j);
        const Vector<float> v = load(memory);
        store(back, v);
        for (size_t j = 0; j < W; ++j) {
            const double wanted = reference::decode(format_of<S>, &memory[j]);
            const double again = reference::decode(format_of<S>, &back[j]);
            CHECK(same(v[j], wanted), "%04x read as %a, not %a", memory[j].bits, v[j], wanted);
            CHECK(std::isnan(wanted) ? std::isnan(again) : back[j].bits == memory[j].bits, "%04x written as %04x",
                  memory[j].bits, back[j].bits);
        }
    }
}

// Between each two neighbours: the tie, and the float on either side of it. The last tie is the one with
// the power of two that the format has not got.
template <class S>
void test_rounding() {
    for (uint32_t bits = 0; bits < 65535; ++bits) {
        const S here{static_cast<uint16_t>(bits)}, next{static_cast<uint16_t>(bits + 1)};
        const double a = reference::decode(format_of<S>, &here);
        double b = reference::decode(format_of<S>, &next);
        if (!std::isfinite(a) || std::isnan(b)) continue;
        if (std::isinf(b)) b = std::copysign(std::ldexp(1.0, reference::places(format_of<S>).highest + 1), a);
        const float tie = static_cast<float>(a / 2 + b / 2);
        for (float value : {std::nextafter(tie, -infinity), tie, std::nextafter(tie, infinity)}) {
            uint16_t wanted;
            reference::encode(format_of<S>, reference::rounded(format_of<S>, value), &wanted);
            const uint16_t got = stored<S>(value, bits % Lanes<float>::count);
            CHECK(got == wanted, "%a written as %04x, not %04x", value, got, wanted);
        }
    }
}

// Numbers far beyond the format's, and the NaNs that arithmetic makes (the kernels store no other).
template <class S>
void test_specials() {
    for (float value : {infinity, -infinity, 0x1.fffffep127f, -0x1.fffffep127f, 0x1p-149f, -0x1p-149f, 0.0f, -0.0f}) {
        uint16_t wanted;
        reference::encode(format_of<S>, reference::rounded(format_of<S>, value), &wanted);
        const uint16_t got = stored<S>(value, 0);
        CHECK(got == wanted, "%a written as %04x, not %04x", value, got, wanted);
    }
    for (uint32_t bits : {0x7fc00000u, 0xffc00000u}) {
        float value;
        std::memcpy(&value, &bits, 4);
        const S got{stored<S>(value, 0)};
        CHECK(std::isnan(reference::decode(format_of<S>, &got)), "NaN %08x written as %04x", bits, got.bits);
    }
}

// The first `count` lanes of a load or a store, at either fence.
template <class S>
void test_first() {
    constexpr size_t W = Lanes<compute<S>>::count;
    Fence fence(W * sizeof(S));
    for (size_t count = 1; count <= W; ++count)
        for (bool far : {true, false}) {
            S values[W];
            for (size_t j = 0; j < W; ++j) reference::encode(format_of<S>, static_cast<double>(j + 1), &values[j]);
            char *memory = fence.take(count * sizeof(S), far);
            std::memcpy(memory, values, count * sizeof(S));
            const Vector<compute<S>> v = load_first(reinterpret_cast<const S *>(memory), count);
            for (size_t j = 0; j < W; ++j) {
                const double wanted = j < count ? static_cast<double>(j + 1) : 1;
                CHECK(static_cast<double>(v[j]) == wanted, "load_first(%zu): lane %zu holds %g", count, j,
                      static_cast<double>(v[j]));
            }
            memory = fence.take(count * sizeof(S), far);
            store_first(reinterpret_cast<S *>(memory), load(values), count);
            CHECK(std::memcmp(memory, values, count * sizeof(S)) == 0, "store_first(%zu)", count);
            std::memset(memory, Fence::pattern, count * sizeof(S));
            CHECK(fence.intact(memory, count * sizeof(S), far), "store_first(%zu) wrote beside", count);
        }
}

// `a` is in one lane alone, so that no answer comes from a neighbour.
template <class T>
void test_extremes(T a, T b) {
    for (size_t j = 0; j < Lanes<T>::count; ++j) {
        Vector<T> lanes = broadcast(T(5));
        lanes[j] = a;
        const T larger = a > b ? a : b, smaller = a < b ? a : b;  // b where a is NaN
        const Vector<T> high = maximum(lanes, broadcast(b)), low = minimum(lanes, broadcast(b));
        CHECK(high[j] == larger, "maximum(%g, %g) is %g", double(a), double(b), double(high[j]));
        CHECK(low[j] == smaller, "minimum(%g, %g) is %g", double(a), double(b), double(low[j]));
        CHECK(any(lanes != 5) == (a != 5), "any(%g != 5), lane %zu", double(a), j);
    }
}

// Exact, as far as a long double can tell.
template <class T>
void test_pairs(T a, T b) {
    using Real = long double;
    const Pair<T> sum = two_sum<T>(broadcast(a), broadcast(b));
    CHECK(sum.head[0] == a + b, "two_sum(%g, %g)", double(a), double(b));
    if (std::fabs(a) < 1000 * std::fabs(b) && std::fabs(b) < 1000 * std::fabs(a))
        CHECK((sum.head[0] - Real(a)) - b == -Real(sum.tail[0]), "two_sum(%g, %g) leaves %g", double(a), double(b),
              double(sum.tail[0]));
    const Pair<T> product = two_product<T>(broadcast(a), broadcast(b));
    const Real off = std::fma(Real(a), Real(b), -Real(product.head[0])) - product.tail[0];
    CHECK(off == 0, "two_product(%g, %g) is %Lg off", double(a), double(b), off);
}

template <class T>
void test_arithmetic() {
    const T finite[] = {T(0), T(5), T(-3.5), T(1) / 3, T(-1e-10) / 3, T(1e10) / 3, T(77) / 11};
    for (T b : finite) {
        for (T a : {T(nan), T(infinity), T(-infinity)}) test_extremes(a, b);
        for (T a : finite) test_extremes(a, b), test_pairs(a, b);
    }
}

void test_halves() {
    constexpr size_t W = Lanes<float>::count;
    float values[W];
    for (size_t j = 0; j < W; ++j) values[j] = static_cast<float>(j) + 0.5f;
    const Wide wide = widen(load(values));
    const Vector<float> back = narrow(wide);
    for (size_t j = 0; j < W; ++j) {
        const double half = j < W / 2 ? wide.low[j] : wide.high[j - W / 2];
        CHECK(half == double(values[j]), "widen: lane %zu holds %g", j, half);
        CHECK(back[j] == values[j], "narrow: lane %zu holds %g", j, double(back[j]));
    }
    for (size_t count = 0; count <= W; ++count) {
        const Vector<float> kept = first_lanes<float>(broadcast(nan), count);
        for (size_t j = 0; j < W; ++j)
            CHECK(std::isnan(kept[j]) == (j < count), "first_lanes(%zu): lane %zu holds %g", count, j, double(kept[j]));
    }
}

}  // namespace

void test_vector();
void test_vector() {
    test_patterns<float16>(), test_patterns<bfloat16>();
    test_rounding<float16>(), test_rounding<bfloat16>();
    test_specials<float16>(), test_specials<bfloat16>();
    test_first<float>(), test_first<double>(), test_first<float16>(), test_first<bfloat16>();
    test_arithmetic<float>(), test_arithmetic<double>();
    test_halves();
}

}  // namespace stablesoftmax::LEVEL
