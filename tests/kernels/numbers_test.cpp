// Every kernel of the table against the contract, and against itself on every other road.
//
// A row is computed once by `rows` and held against the exact values. Whatever else the table offers
// (columns, single rows with any steps, in place, other neighbours, other alignment, no room for the
// exponentials) must give those very bits.
#include <algorithm>
#include <csignal>
#include <cstring>

#include "batch.hpp"
#include "check.hpp"
#include "fence.hpp"
#include "parallel.hpp"

using namespace stablesoftmax;

namespace {

enum class Road { rows, columns, single };

// Element i of row r is r·row + i·step items from element 0 of row 0.
struct Layout {
    ptrdiff_t row, step;

    ptrdiff_t lowest(ptrdiff_t rows, ptrdiff_t length) const {
        return std::min<ptrdiff_t>(0, (rows - 1) * row) + std::min<ptrdiff_t>(0, (length - 1) * step);
    }
    size_t span(ptrdiff_t rows, ptrdiff_t length) const {
        if (rows == 0 || length == 0) return 0;
        return static_cast<size_t>((rows - 1) * std::abs(row) + (length - 1) * std::abs(step) + 1);
    }
};

struct Trial {
    const Kernels &kernels;
    Operation operation;
    Road road;
    Layout x, y;
    bool in_place = false;
    bool far = true;   // the memory ends at a fence, or begins at one
    bool room = true;  // for the exponentials
    Undefined undefined = Undefined::nan;
    double temperature = 1;
    const Bytes *where = nullptr;  // one byte an element
    ptrdiff_t where_step = 1;
};

size_t index(Operation operation) { return static_cast<size_t>(operation); }
size_t index(Format format) { return static_cast<size_t>(format); }

void copy_item(char *to, const char *from, size_t item) {
    switch (item) {  // a known size is one instruction, and most of this test's time
        case 2: std::memcpy(to, from, 2); break;
        case 4: std::memcpy(to, from, 4); break;
        default: std::memcpy(to, from, 8);
    }
}

// A batch in fenced memory.
struct Placed {
    Fence &fence;
    Layout layout;
    size_t count, length, item;
    bool far;
    char *memory, *origin;

    Placed(Fence &fence, Layout layout, size_t count, size_t length, size_t item, bool far)
        : fence(fence), layout(layout), count(count), length(length), item(item), far(far) {
        const ptrdiff_t rows = static_cast<ptrdiff_t>(count), elements = static_cast<ptrdiff_t>(length);
        memory = fence.take(bytes(), far);
        origin = bytes() ? memory - layout.lowest(rows, elements) * static_cast<ptrdiff_t>(item) : memory;
    }
    size_t bytes() const {
        return item * layout.span(static_cast<ptrdiff_t>(count), static_cast<ptrdiff_t>(length));
    }
    char *at(size_t r, size_t i) const {
        ptrdiff_t items = static_cast<ptrdiff_t>(r) * layout.row + static_cast<ptrdiff_t>(i) * layout.step;
        return origin + items * static_cast<ptrdiff_t>(item);
    }
    void put(const char *from) {
        for (size_t r = 0; r < count; ++r)
            for (size_t i = 0; i < length; ++i, from += item) copy_item(at(r, i), from, item);
    }
    Bytes get() const {
        Bytes bytes(count * length * item);
        char *to = bytes.data();
        for (size_t r = 0; r < count; ++r)
            for (size_t i = 0; i < length; ++i, to += item) copy_item(to, at(r, i), item);
        return bytes;
    }
    // Whether nothing but the elements has been written.
    bool intact() {
        char pattern[8];
        std::memset(pattern, Fence::pattern, 8);
        for (size_t r = 0; r < count; ++r)
            for (size_t i = 0; i < length; ++i) copy_item(at(r, i), pattern, item);
        return fence.intact(memory, bytes(), far);
    }
};

ptrdiff_t in_bytes(ptrdiff_t items, const Batch &batch) { return items * static_cast<ptrdiff_t>(batch.item()); }

void call(const Trial &t, const Batch &batch, const Placed &x, const Placed &y, const Context &context) {
    const size_t op = index(t.operation), format = index(batch.format);
    const ptrdiff_t x_step = in_bytes(x.layout.step, batch), y_step = in_bytes(y.layout.step, batch);
    const ptrdiff_t x_row = in_bytes(x.layout.row, batch), y_row = in_bytes(y.layout.row, batch);
    const bool reduces = t.operation == Operation::logsumexp;
    if (t.road == Road::rows)
        return t.kernels.rows[op][format](x.origin, x_row, y.origin, y_row, batch.count, batch.length, context);
    if (t.road == Road::columns)
        return t.kernels.columns[op][format](x.origin, x_step, y.origin, reduces ? y_row : y_step, batch.count,
                                             batch.length, context);
    for (size_t r = 0; r < batch.count; ++r) {
        const char *where = t.where ? t.where->data() : nullptr;
        if (t.where_step < 0 && batch.length > 0) where += batch.length - 1;
        t.kernels.row[op][format]({x.at(r, 0), x_step, y.at(r, 0), y_step, where, t.where_step, t.temperature,
                                   batch.length},
                                  context);
    }
}

// The result, row after row; every byte around it and every byte of x is watched.
Bytes run(const Trial &t, const Batch &batch) {
    static Fence x_fence(1 << 26), y_fence(1 << 26);
    static std::vector<double> room(cached_bytes / sizeof(double));
    const size_t per_row = t.operation == Operation::logsumexp ? 1 : batch.length;
    Context context;
    context.undefined = t.undefined;
    context.exponentials = t.room ? room.data() : nullptr;
    Placed x(x_fence, t.x, batch.count, batch.length, batch.item(), t.far);
    x.put(batch.bytes.data());
    if (t.in_place) {
        call(t, batch, x, x, context);
        Bytes result = x.get();
        CHECK(x.intact(), "in place");
        return result;
    }
    Placed y(y_fence, t.y, batch.count, per_row, batch.item(), t.far);
    call(t, batch, x, y, context);
    Bytes result = y.get();
    CHECK(y.intact(), "y");
    CHECK(x.get() == batch.bytes && x.intact(), "x");
    return result;
}

void name(const Kernels &kernels, Operation operation, Format format, size_t length, const char *how) {
    std::snprintf(scene, sizeof scene, "%s %s %s length %zu %s", kernels.name, operation_names[index(operation)],
                  format_names[index(format)], length, how);
}

// One line for each row that differs.
void same_bits(const Bytes &result, const Bytes &expected, const Batch &batch) {
    const size_t row = batch.count ? expected.size() / batch.count : 0;
    for (size_t r = 0; r < batch.count; ++r) {
        const char *got = result.data() + r * row, *wanted = expected.data() + r * row;
        size_t at = row == 0 || std::memcmp(got, wanted, row) == 0 ? row : 0;
        while (at < row && std::memcmp(got + at, wanted + at, batch.item()) == 0) at += batch.item();
        CHECK(at == row, "row %zu of %zu, element %zu: %a, %a by rows", r, batch.count, at / batch.item(),
              reference::decode(batch.format, got + at), reference::decode(batch.format, wanted + at));
    }
}

// Hold each row against the exact results; one line a row that has an element too far from its own.
void within_limits(const Bytes &result, const Batch &batch, const std::vector<reference::Results> &exact,
                   Operation operation, double temperature) {
    const size_t per_row = operation == Operation::logsumexp ? 1 : batch.length;
    const char *got = result.data();
    for (size_t r = 0; r < batch.count; ++r) {
        // Where the reference itself cancels to 0, an infinite κ allows 1.5 ULP of what it is a sum of.
        const bool cancels = operation == Operation::logsumexp && std::isinf(exact[r].condition);
        const double limit =
            reference::limit(operation, batch.format, temperature, cancels ? 1 : exact[r].condition);
        double worst = 0, worst_value = 0;
        size_t at = 0;
        for (size_t i = 0; i < per_row; ++i, got += batch.item()) {
            const double value = reference::decode(batch.format, got);
            const reference::Real wanted = operation == Operation::softmax       ? exact[r].softmax[i]
                                           : operation == Operation::log_softmax ? exact[r].log_softmax[i]
                                                                                 : exact[r].logsumexp;
            double off = reference::ulps(batch.format, value, wanted);
            const bool is_zero = operation == Operation::softmax ? !std::signbit(value) && value == 0 : value == 0;
            if (wanted == 0 && !is_zero) off = HUGE_VAL;  // exactly 0, and a probability +0
            if (cancels) off = std::fabs(value / static_cast<double>(reference::unit(batch.format, exact[r].size)));
            if (off > worst) worst = off, worst_value = value, at = i;
        }
        CHECK(worst <= limit, "row %zu, element %zu: %a, %.3g ULP off, %.3g allowed", r, at, worst_value, worst,
              limit);
    }
}

std::vector<reference::Results> exact_results(const Batch &batch, const Bytes *where, double temperature,
                                              Undefined undefined) {
    std::vector<char> in = where ? std::vector<char>(where->begin(), where->end()) : std::vector<char>(batch.length, 1);
    std::vector<reference::Results> all;
    for (size_t r = 0; r < batch.count; ++r) all.push_back(reference::exact(batch.row(r), in, temperature, undefined));
    return all;
}

Batch part_of(const Batch &batch, size_t first, size_t count) {
    Batch part(batch.format, count, batch.length);
    std::copy_n(batch.at(first), part.bytes.size(), part.bytes.begin());
    return part;
}

Bytes part_of(const Bytes &results, const Batch &batch, size_t first, size_t count) {
    const ptrdiff_t row = static_cast<ptrdiff_t>(results.size() / batch.count);
    const ptrdiff_t begin = static_cast<ptrdiff_t>(first) * row;
    return {results.begin() + begin, results.begin() + begin + static_cast<ptrdiff_t>(count) * row};
}

Trial plain(const Kernels &kernels, Operation operation, size_t length) {
    const ptrdiff_t row = static_cast<ptrdiff_t>(length);
    return {kernels, operation, Road::rows, {row, 1}, {operation == Operation::logsumexp ? 1 : row, 1}};
}

// The bits that all roads must give: each row on its own.
Bytes one_by_one(const Trial &t, const Batch &batch) {
    Bytes all;
    for (size_t r = 0; r < batch.count; ++r) {
        Bytes one = run(t, part_of(batch, r, 1));
        all.insert(all.end(), one.begin(), one.end());
    }
    return all;
}

void same_by_rows(const Trial &base, const Batch &batch, const Bytes &expected) {
    const ptrdiff_t length = static_cast<ptrdiff_t>(batch.length);
    auto agree = [&](const char *how, auto change) {
        Trial t = base;
        change(t);
        name(t.kernels, t.operation, batch.format, batch.length, how);
        if (t.operation != Operation::logsumexp || !t.in_place) same_bits(run(t, batch), expected, batch);
    };
    agree("rows", [](Trial &) {});
    agree("rows at the near fence", [](Trial &t) { t.far = false; });
    agree("rows without room", [](Trial &t) { t.room = false; });
    agree("rows in place", [](Trial &t) { t.in_place = true; });
    agree("rows in place without room", [](Trial &t) { t.in_place = true, t.room = false; });
    agree("rows apart", [&](Trial &t) { t.x.row = length + 3, t.y.row += 1; });
    agree("rows backwards", [](Trial &t) { t.x.row = -t.x.row, t.y.row = -t.y.row; });
    if (batch.count < 2) return;
    name(base.kernels, base.operation, batch.format, batch.length, "rows but the first");
    const Batch rest = part_of(batch, 1, batch.count - 1);
    same_bits(run(base, rest), part_of(expected, batch, 1, rest.count), rest);
}

void same_by_single(const Trial &base, const Batch &batch, const Bytes &expected) {
    const ptrdiff_t length = static_cast<ptrdiff_t>(batch.length);
    for (ptrdiff_t step : {1, -1, 3, -2})
        for (bool in_place : {false, true}) {
            if (in_place && base.operation == Operation::logsumexp) continue;
            Trial t = base;
            t.road = Road::single;
            t.x = {length * 3 + 1, step};
            t.y = base.operation == Operation::logsumexp ? Layout{2, 1} : Layout{length * 3, -step};
            t.in_place = in_place;
            t.room = step != 3;
            char how[64];
            std::snprintf(how, sizeof how, "single, step %td%s", step, in_place ? ", in place" : "");
            name(t.kernels, t.operation, batch.format, batch.length, how);
            same_bits(run(t, batch), expected, batch);
        }
}

// `width` columns, column c row c mod batch.count.
void same_by_columns(const Trial &base, const Batch &batch, const Bytes &expected, size_t width, bool in_place) {
    const ptrdiff_t step = static_cast<ptrdiff_t>(width);
    Batch columns(batch.format, width, batch.length);
    Bytes wanted;
    for (size_t c = 0; c < width; ++c) {
        const size_t r = c % batch.count;
        std::copy_n(batch.at(r), batch.length * batch.item(), columns.at(c));
        Bytes one = part_of(expected, batch, r, 1);
        wanted.insert(wanted.end(), one.begin(), one.end());
    }
    Trial t = base;
    t.road = Road::columns;
    t.in_place = in_place;
    t.far = width % 2;
    t.room = width % 3;
    t.x = {1, in_place ? step : step + 2};
    t.y = base.operation == Operation::logsumexp ? Layout{2, 1} : Layout{1, width % 4 ? step : -step - 1};
    char how[64];
    std::snprintf(how, sizeof how, "%zu columns%s", width, in_place ? ", in place" : "");
    name(t.kernels, t.operation, batch.format, batch.length, how);
    same_bits(run(t, columns), wanted, columns);
}

void test_columns(const Trial &base, const Batch &batch, const Bytes &expected, const std::vector<size_t> &widths) {
    for (size_t width : widths) {
        same_by_columns(base, batch, expected, width, false);
        if (base.operation != Operation::logsumexp) same_by_columns(base, batch, expected, width, true);
    }
}

// Long enough for a row to be cut into parts.
void same_by_threads(const Trial &base, const Batch &batch, const Bytes &expected) {
    for (size_t threads : {1, 2, 7}) {
        char how[64];
        std::snprintf(how, sizeof how, "%zu threads", threads);
        name(base.kernels, base.operation, batch.format, batch.length, how);
        set_thread_count(threads);
        for (size_t r = 0; r < batch.count; ++r) {
            const Batch one = part_of(batch, r, 1);
            Bytes y(result_bytes(base.operation, one));
            Job job = contiguous_job(base.operation, one, y.data());
            CHECK(run(base.kernels, job, nullptr), "stopped");
            same_bits(y, part_of(expected, batch, r, 1), one);
        }
    }
}

template <class Function>
void for_kernels(Function f) {
    for_levels([&](const Kernels &kernels) {
        for (Operation operation : {Operation::softmax, Operation::log_softmax, Operation::logsumexp})
            f(kernels, operation);
    });
}

void test_length(Format format, size_t length, size_t rows, const std::vector<size_t> &widths) {
    std::mt19937_64 random(length + 1);
    const Batch batch = part_of(batch_of_families(format, length, random), 0, rows);
    const auto exact = exact_results(batch, nullptr, 1, Undefined::nan);
    for_kernels([&](const Kernels &kernels, Operation operation) {
        const Trial base = plain(kernels, operation, length);
        name(kernels, operation, format, length, "one row");
        const Bytes expected = one_by_one(base, batch);
        within_limits(expected, batch, exact, operation, 1);
        same_by_rows(base, batch, expected);
        same_by_single(base, batch, expected);
        test_columns(base, batch, expected, widths);
        if (length > 1 << 16) same_by_threads(base, batch, expected);
    });
}

// The order of a sum, which shows in balanced rows alone.
void test_order(Format format, size_t length) {
    std::mt19937_64 random(length + 3);
    Batch batch(format, 24, length);
    for (size_t r = 0; r < batch.count; ++r) fill_row(batch, r, balanced, random);
    for_levels([&](const Kernels &kernels) {
        const Trial base = plain(kernels, Operation::logsumexp, length);
        const Bytes expected = one_by_one(base, batch);
        same_by_rows(base, batch, expected);
        same_by_single(base, batch, expected);
        test_columns(base, batch, expected, {24, 67});
    });
}

// A step of zero: all elements are one.
void test_zero_step(Format format, size_t length) {
    Batch batch(format, 1, length);
    for (size_t i = 0; i < length; ++i) reference::encode(format, -2.5, batch.at(0, i));
    for_kernels([&](const Kernels &kernels, Operation operation) {
        Trial t = plain(kernels, operation, length);
        const Bytes expected = run(t, batch);
        t.road = Road::single;
        t.x.step = 0;
        name(kernels, operation, format, length, "zero step");
        same_bits(run(t, batch), expected, batch);
    });
}

// Undefined rows, masks and temperatures, and all of them together. What the mask excludes is NaN.
void test_options(Format format, size_t length, size_t rows) {
    std::mt19937_64 random(length + 2);
    const Batch batch = part_of(batch_of_families(format, length, random), 0, rows);
    Bytes all(length, 1), none(length, 0), some(length), only(length, 0);
    for (char &in : some) in = static_cast<char>(random() % 2);
    if (length) only[random() % length] = 1;
    const Bytes *const masks[] = {nullptr, &all, &some, &only, &none};
    const char *const mask_names[] = {"no", "full", "some", "one", "empty"};
    const bool is_long = length > 4096;  // there for the blocks alone
    for (size_t m = 0; m < 5; m += is_long ? 2 : 1)
        for (double temperature : {1.0, 0.0, HUGE_VAL, 0.1, 3.0})
            for (Undefined undefined : {Undefined::nan, Undefined::zero, Undefined::uniform}) {
                if (is_long && undefined != Undefined::nan) continue;
                const Bytes *where = masks[m];
                Batch x = batch;
                for (size_t i = 0; where && i < length; ++i)
                    for (size_t r = 0; r < rows; r += 2)
                        if (!(*where)[i]) reference::encode(format, NAN, x.at(r, i));
                const auto exact = exact_results(x, where, temperature, undefined);
                for_kernels([&](const Kernels &kernels, Operation operation) {
                    if (operation == Operation::logsumexp && temperature != 1) return;  // it has none
                    Trial t = plain(kernels, operation, length);
                    t.road = Road::single;
                    t.undefined = undefined;
                    t.temperature = temperature;
                    Bytes reversed;
                    if (where) {
                        reversed.assign(where->rbegin(), where->rend());
                        t.where = undefined == Undefined::zero ? &reversed : where;
                        t.where_step = undefined == Undefined::zero ? -1 : 1;
                    }
                    char how[64];
                    std::snprintf(how, sizeof how, "temperature %g, %s mask, undefined %d", temperature,
                                  mask_names[m], static_cast<int>(undefined));
                    name(kernels, operation, format, length, how);
                    within_limits(run(t, x), x, exact, operation, temperature);
                });
            }
}

void test_is_undefined(Format format, size_t length) {
    std::mt19937_64 random(length);
    const Batch batch = batch_of_families(format, length, random);
    for_levels([&](const Kernels &kernels) {
        name(kernels, Operation::softmax, format, length, "is_undefined");
        for (size_t r = 0; r < batch.count; ++r) {
            const ptrdiff_t item = static_cast<ptrdiff_t>(batch.item());
            const Row row{batch.at(r), item, nullptr, 0, nullptr, 0, 1, length};
            const auto exact = reference::exact(batch.row(r), std::vector<char>(length, 1), 1, Undefined::nan);
            const auto zero = reference::exact(batch.row(r), std::vector<char>(length, 1), 1, Undefined::zero);
            bool wanted = false;  // undefined is what the option changes
            for (size_t i = 0; i < length; ++i)
                wanted |= std::isnan(exact.softmax[i]) != std::isnan(zero.softmax[i]);
            CHECK(kernels.is_undefined[index(format)](row) == wanted, "row %zu: %d wanted", r, wanted);
        }
    });
}

#if !defined(__SANITIZE_ADDRESS__)  // it prints more itself
void on_fault(int) {
    std::printf("\nbeyond the fence: %s\n%zu passed, %zu failed\n", scene, passed, failed + 1);
    std::fflush(stdout);
    _exit(1);
}
#endif

std::vector<size_t> up_to(size_t last) {
    std::vector<size_t> all;
    for (size_t n = 1; n <= last; ++n) all.push_back(n);
    return all;
}

}  // namespace

// `numbers small`, `numbers emulated`: a coarser grid, where an instruction costs tens of others.
int main(int count, char **) {
#if !defined(__SANITIZE_ADDRESS__)
    std::signal(SIGSEGV, on_fault);
    std::signal(SIGBUS, on_fault);
#endif
    const bool small = count > 1;
    const std::vector<size_t> few = {1, 3, 16, 64, 67};
    const std::vector<size_t> all = small ? few : up_to(70);
    std::vector<size_t> middle = {127, 128, 129, 255, 256, 257, 511, 512, 513, 1023, 1024, 1025, 2047, 2048, 2049};
    std::vector<size_t> long_rows = {4095, 4096, 4097, 8191, 8192, 8193, 12289};
    std::vector<size_t> longest = {65536, 65537, 131072, 131073};
    if (small) middle = {129, 513}, long_rows = {4097, 12289}, longest = {};
    for (Format format : {Format::float32, Format::float64, Format::float16, Format::bfloat16}) {
        for (size_t n = 0; n <= 70; n += small && n > 20 ? 7 : 1)
            test_length(format, n, families, n == 1 || n == 7 || n == 33 || n == 70 ? all : few);
        for (size_t n : middle) test_length(format, n, families, {5, 67});
        for (size_t n : long_rows) test_length(format, n, families, {17});
        for (size_t n : longest) test_length(format, n, huge, {});
        for (size_t n : {20, 1000, 8200}) test_order(format, n);
        for (size_t n : {1, 5, 100}) test_zero_step(format, n);
        for (size_t n : {0, 1, 2, 3, 15, 16, 17, 40, 100}) test_options(format, n, families), test_is_undefined(format, n);
        if (!small) test_options(format, 4097, dominated + 1), test_options(format, 65537, normal + 1);
    }
    return report();
}
