/* Offsets of blocks against the plain search that they stand for: among all placed blocks, one
 * after the other. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "plan/offsets.h"
#include "tools/check.h"

enum { MOST = 3000 };
static vt_block blocks[MOST], expected[MOST];

static uint32_t state = 1;
static int drawn(int below) {
    state = state * 1664525u + 1013904223u;
    return (int)((state >> 8) % (uint32_t)below);
}

/* The lowest offset where blocks[k] meets none of the `k` before it, by trying every end. */
static size_t lowest(const vt_block *placed, int k) {
    size_t offset = 0;
    for (int again = 1; again;) {
        again = 0;
        for (int i = 0; i < k; i++) {
            const vt_block *b = &placed[i];
            const int meets = b->start <= placed[k].end && placed[k].start <= b->end;
            const int overlaps =
                b->offset < offset + placed[k].bytes && offset < b->offset + b->bytes;
            if (!meets || !overlaps) continue;
            offset = b->offset + b->bytes;
            again = 1;
        }
    }
    return offset;
}

static void compare(int count) {
    size_t total, most = 0;
    vt_error error;
    VT_CHECK(vt_offsets_find(blocks, count, &total, &error) == VT_OK);
    memcpy(expected, blocks, sizeof blocks); /* in the order in which they were placed */
    for (int i = 0; i < count; i++) {
        if (i > 0) VT_CHECK(blocks[i - 1].bytes >= blocks[i].bytes);
        expected[i].offset = lowest(expected, i);
        VT_CHECK(expected[i].offset == blocks[i].offset);
        if (blocks[i].offset + blocks[i].bytes > most) most = blocks[i].offset + blocks[i].bytes;
    }
    VT_CHECK(total == most);
}

static void test_random_lives(void) {
    for (int round = 0; round < 200; round++) {
        const int count = drawn(300), sizes = 1 + drawn(20), time = 1 + drawn(200);
        for (int i = 0; i < count; i++) {
            const int start = drawn(time);
            const int end = start + drawn(drawn(2) ? 3 : time);
            blocks[i] = (vt_block){i, start, end, 64 * (size_t)(1 + drawn(sizes)), 7};
        }
        compare(count);
    }
}

/* As in a plan for training, with what lives for one moment only between. */
static void test_nested_lives(void) {
    for (int i = 0; i < MOST; i++) {
        const int moment = i % 3 == 0;
        blocks[i] = (vt_block){i, i, moment ? i + 1 : 2 * MOST - i, 64 * (size_t)(1 + i % 2), 0};
    }
    compare(MOST);
}

/* As in a plan for inference: two places serve all. */
static void test_lives_in_a_row(void) {
    for (int i = 0; i < MOST; i++) blocks[i] = (vt_block){i, i, i + 1, 128, 0};
    compare(MOST);
    size_t total;
    vt_error error;
    VT_CHECK(vt_offsets_find(blocks, MOST, &total, &error) == VT_OK && total == 256);
}

static void test_failures(void) {
    vt_error error;
    size_t total;
    for (int n = 1;; n++) {
        for (int i = 0; i < MOST; i++) blocks[i] = (vt_block){i, 0, 1, 64, 0};
        const int64_t before = vt_memory_read().blocks;
        vt_memory_fail_at(n);
        const vt_status status = vt_offsets_find(blocks, MOST, &total, &error);
        vt_memory_fail_at(0);
        VT_CHECK(vt_memory_read().blocks == before);
        if (status == VT_OK) break;
        VT_CHECK(status == VT_MEMORY);
    }
    VT_CHECK(vt_offsets_find(blocks, 0, &total, &error) == VT_OK && total == 0);
}

int main(void) {
    test_random_lives();
    test_nested_lives();
    test_lives_in_a_row();
    test_failures();
    return vt_check_summary();
}
