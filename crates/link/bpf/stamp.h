/* Stamps of a sample of frames: which frames, and where their stamps go. What `src/passage.rs` does where frames come to userspace. */
#pragma once
#include "bpf.h"

enum {
	SIDE_IN,
	SIDE_OUT,
	SIDES,
	KEY_BYTES = 8,
	KEY_AT_MAX = 255, /* where a key may stand in a frame */
};

/* Which frames a side stamps; written by userspace, but for `taken`. */
struct sample {
	__u32 key_at;
	__u32 mask;
	__u32 room; /* stamps that there is room for; 0: no frame is stamped */
	__u32 taken; /* frames that were chosen, those beyond `room` included */
	__u64 clock_ns; /* of the first side: what the clock showed when `natrig_clock` ran */
	__u32 unused[10];
};

struct stamp {
	__u8 key[KEY_BYTES];
	__u64 ns; /* 0: not yet written */
};

struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_UINT(max_entries, SIDES);
	MAP_UINT(map_flags, BPF_F_MMAPABLE);
	MAP_TYPE(key, __u32);
	MAP_TYPE(value, struct sample);
} samples SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_UINT(max_entries, SIDES); /* set when loaded */
	MAP_UINT(map_flags, BPF_F_MMAPABLE);
	MAP_TYPE(key, __u32);
	MAP_TYPE(value, struct stamp);
} stamps SEC(".maps");

/* A constant to the verifier: set before the program is loaded. */
const volatile __u32 STAMPS_PER_SIDE = 1;

/* Reads the clock of the stamps, so that userspace can hold it against its own: by a call that does next to nothing else. */
SEC("raw_tp") int natrig_clock(void *ctx)
{
	__u32 side = SIDE_IN;
	struct sample *sample = bpf_map_lookup_elem(&samples, &side);
	if (sample)
		sample->clock_ns = bpf_ktime_get_ns();
	return 0;
}

/* Stamps a frame if it is chosen; whether it was. */
static __always_inline int stamp(__u32 side, __u8 *data, __u8 *end)
{
	struct sample *sample = bpf_map_lookup_elem(&samples, &side);
	if (!sample || !sample->room)
		return 0;
	__u32 key_at = sample->key_at;
	if (key_at > KEY_AT_MAX)
		return 0;
	__u8 *key = data + key_at;
	if (key + KEY_BYTES > end)
		return 0;
	if ((__u8)(key[3] + key[7]) & sample->mask)
		return 0;
	__u32 nth = __sync_fetch_and_add(&sample->taken, 1);
	if (nth >= sample->room)
		return 0;
	__u32 index = side * STAMPS_PER_SIDE + nth;
	struct stamp *stamp = bpf_map_lookup_elem(&stamps, &index);
	if (!stamp)
		return 0;
	__builtin_memcpy(stamp->key, key, KEY_BYTES);
	asm volatile("" ::: "memory");
	stamp->ns = bpf_ktime_get_ns();
	return 1;
}
