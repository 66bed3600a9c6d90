// Rings in mapped arrays: one program that receives into them and sends from them.
//
// On an interface it copies each frame that arrives into the next slot of the ring of its queue. Run by BPF_PROG_TEST_RUN with live
// frames, where the kernel says that frames come from the loopback interface, it copies slots that userspace names over recycled
// pages and redirects those to an interface. Being one program and not two keeps it in the kernel's XDP dispatcher while it sends,
// as long as it is attached to any interface: rebuilding the dispatcher costs milliseconds a call.
//
// Who may touch what, and in which order:
// - A ring's slot `n % slots` is this program's while `n - consumed < slots` and n == produced, and userspace's from produced > n
//   until consumed > n. NAPI runs the program on one CPU at a time for each queue, so `produced` has one writer.
// - The frame is written before `produced`: a release. The compiler keeps the order (both are volatile or behind a barrier), and so
//   do processors with total store order; on others the store is an exchange, which the kernel orders fully.
// - `consumed` is read before the slot is written: the write depends on the branch, which all processors keep in order.
// - `sends` and the slots it names belong to the thread that is inside the system call.
#include "bpf.h"

#ifndef SLOT_BYTES
#error "SLOT_BYTES: bytes of a slot, a power of two"
#endif

enum {
	LOOPBACK_IFINDEX = 1, /* in every network namespace (include/net/net_namespace.h) */
	PORTS_MAX = 4,
	QUEUES_MAX = 16,
	WHOLE_ONE_IN = 64, /* of frames that are cut otherwise; a power of two */
	BATCH_MAX = 2048, /* what the longest burst of userspace names */
	READINGS_MAX = 2048, /* of the clock, for one frame: more jumps are too many for the verifier */
	SLOT_HEADER_BYTES = 16,
	ROOM = SLOT_BYTES - SLOT_HEADER_BYTES,
	/* Longer frames are copied by the kernel's helper: a call, then as fast as memory. */
	INLINE_COPY_MAX = 255,
	ETHERNET_HEADER_BYTES = 14,
};

struct slot {
	__u32 len;
	__u32 arrived; /* how long the frame was that `len` bytes have been copied of */
	__u64 time; /* when it is to be sent at the earliest; then, when it came up */
	__u8 frame[ROOM];
};

struct ring {
	__u32 produced; /* frames put; written here */
	__u32 unused0[15];
	__u32 consumed; /* frames released; written by userspace */
	__u32 unused1[15];
	__u64 overflow; /* frames lost: the ring was full */
	__u64 too_long; /* frames lost: longer than a slot */
	__u64 unused2[6];
};

struct send {
	__u32 next; /* slots used of this call; userspace sets it to zero before */
	__u32 port; /* where to: key of `ports` */
	__u32 refused; /* slots whose frame could not be put on a page */
	__u32 differ; /* bytes of each slot in which it differs from what lies on the page already */
	__u32 timed; /* whether slots wait for their time */
	__u32 unused[11];
	__u32 slot[BATCH_MAX];
};

struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_UINT(max_entries, 1); /* set when loaded */
	MAP_UINT(map_flags, BPF_F_MMAPABLE);
	MAP_TYPE(key, __u32);
	MAP_TYPE(value, struct slot);
} slots SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_UINT(max_entries, PORTS_MAX * QUEUES_MAX);
	MAP_UINT(map_flags, BPF_F_MMAPABLE);
	MAP_TYPE(key, __u32);
	MAP_TYPE(value, struct ring);
} rings SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_UINT(max_entries, PORTS_MAX * QUEUES_MAX);
	MAP_UINT(map_flags, BPF_F_MMAPABLE);
	MAP_TYPE(key, __u32);
	MAP_TYPE(value, struct send);
} sends SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_DEVMAP);
	MAP_UINT(max_entries, PORTS_MAX);
	MAP_UINT(key_size, 4);
	MAP_UINT(value_size, 4);
} ports SEC(".maps");

/* Constants to the verifier: set before the program is loaded. */
const volatile __u32 PORT_IFINDEX[PORTS_MAX] = {0};
const volatile __u32 PORT_QUEUES = 1;
const volatile __u32 RING_SLOTS = 1;
const volatile __u32 STORES_ARE_ORDERED = 0;
const volatile __u32 HEAD_BYTES = ROOM;

/*
 * Copies `len` bytes, at most INLINE_COPY_MAX, in one step for each bit set in `len`, from high to low. -1 when that would leave the
 * packet or the slot, which only the verifier thinks possible: `done` is a constant on each of the paths that it follows.
 */
#define COPY_WORDS(bytes)                                                                                              \
	_Pragma("unroll") for (int word = 0; word < (bytes) / 8; word++)((__u64 *)to)[word] = ((__u64 *)from)[word]
#define COPY_STEP(packet, bytes, statement)                                                                            \
	if (len & (bytes)) {                                                                                           \
		if ((packet) + (bytes) > end || done + (bytes) > ROOM)                                                 \
			return -1;                                                                                     \
		statement;                                                                                             \
		to += (bytes);                                                                                         \
		from += (bytes);                                                                                       \
		done += (bytes);                                                                                       \
	}
#define COPY(packet)                                                                                                   \
	__u32 done = 0;                                                                                                \
	COPY_STEP(packet, 128, COPY_WORDS(128))                                                                        \
	COPY_STEP(packet, 64, COPY_WORDS(64))                                                                          \
	COPY_STEP(packet, 32, COPY_WORDS(32))                                                                          \
	COPY_STEP(packet, 16, COPY_WORDS(16))                                                                          \
	COPY_STEP(packet, 8, COPY_WORDS(8))                                                                            \
	COPY_STEP(packet, 4, *(__u32 *)to = *(__u32 *)from)                                                            \
	COPY_STEP(packet, 2, *(__u16 *)to = *(__u16 *)from)                                                            \
	COPY_STEP(packet, 1, *to = *from)                                                                              \
	return 0

static __always_inline int copy_from_packet(__u8 *to, __u8 *from, __u8 *end, __u32 len)
{
	COPY(from);
}

static __always_inline int copy_to_packet(__u8 *to, __u8 *end, __u8 *from, __u32 len)
{
	COPY(to);
}

static __always_inline int receive(struct xdp_md *ctx, __u32 port)
{
	__u32 queue = ctx->rx_queue_index;
	if (queue >= PORT_QUEUES)
		return XDP_PASS;
	__u32 key = port * PORT_QUEUES + queue;
	struct ring *ring = bpf_map_lookup_elem(&rings, &key);
	if (!ring)
		return XDP_PASS;

	__u32 produced = ring->produced;
	if (produced - *(volatile __u32 *)&ring->consumed >= RING_SLOTS) {
		ring->overflow++;
		return XDP_DROP;
	}
	__u32 index = key * RING_SLOTS + (produced & (RING_SLOTS - 1));
	struct slot *slot = bpf_map_lookup_elem(&slots, &index);
	if (!slot)
		return XDP_PASS;

	__u8 *data = (__u8 *)(long)ctx->data, *end = (__u8 *)(long)ctx->data_end;
	__u32 arrived = end - data;
	if (arrived > ROOM) {
		ring->too_long++;
		return XDP_DROP;
	}
	__u32 len = arrived > HEAD_BYTES && produced % WHOLE_ONE_IN ? HEAD_BYTES : arrived;
	OPAQUE(len);
	if (len < ETHERNET_HEADER_BYTES || len > ROOM) {
		ring->too_long++;
		return XDP_DROP;
	}
	if (len <= INLINE_COPY_MAX ? copy_from_packet(slot->frame, data, end, len)
				   : bpf_xdp_load_bytes(ctx, 0, slot->frame, len)) {
		ring->too_long++;
		return XDP_DROP;
	}
	slot->len = len;
	slot->arrived = arrived;
	asm volatile("" ::: "memory");
	if (STORES_ARE_ORDERED)
		*(volatile __u32 *)&ring->produced = produced + 1;
	else
		__sync_lock_test_and_set(&ring->produced, produced + 1);
	return XDP_DROP;
}

/* Until the time of a slot; -1 if that is further away than userspace may ask. */
static __always_inline int wait(struct slot *slot)
{
	__u64 due = slot->time, now = bpf_ktime_get_ns();
	slot->time = now;
	_Pragma("nounroll") for (__u32 reading = 0; now < due && reading < READINGS_MAX; reading++)
		now = bpf_ktime_get_ns();
	return now < due ? -1 : 0;
}

static __always_inline int send(struct xdp_md *ctx)
{
	__u8 *data = (__u8 *)(long)ctx->data, *end = (__u8 *)(long)ctx->data_end;
	/* The kernel gives every frame of a call the same metadata length, recycled or not: the caller's number, in words. */
	__u32 key = (__u32)((long)data - (long)ctx->data_meta) / 4;
	struct send *send = bpf_map_lookup_elem(&sends, &key);
	if (!send)
		return XDP_DROP;
	__u32 next = send->next;
	if (next >= BATCH_MAX)
		return XDP_DROP;
	send->next = next + 1;
	__u32 index = send->slot[next & (BATCH_MAX - 1)];
	struct slot *slot = bpf_map_lookup_elem(&slots, &index);
	if (!slot)
		goto refuse;

	__u32 len = *(volatile __u32 *)&slot->len;
	if (end - data != len) {
		if (bpf_xdp_adjust_tail(ctx, (int)len - (int)(end - data)))
			goto refuse;
		data = (__u8 *)(long)ctx->data;
		end = (__u8 *)(long)ctx->data_end;
	}
	if (send->differ < len)
		len = send->differ;
	OPAQUE(len);
	if (len < ETHERNET_HEADER_BYTES || len > ROOM)
		goto refuse;
	if (len <= INLINE_COPY_MAX ? copy_to_packet(data, end, slot->frame, len)
				   : bpf_xdp_store_bytes(ctx, 0, slot->frame, len))
		goto refuse;
	if (send->timed && wait(slot))
		goto refuse;
	return bpf_redirect_map(&ports, send->port, XDP_ABORTED);
refuse:
	send->refused++;
	return XDP_DROP;
}

SEC("xdp") int natrig_ring(struct xdp_md *ctx)
{
	__u32 ifindex = ctx->ingress_ifindex;
	if (ifindex == LOOPBACK_IFINDEX)
		return send(ctx);
	_Pragma("unroll") for (__u32 port = 0; port < PORTS_MAX; port++)
		if (ifindex == PORT_IFINDEX[port])
			return receive(ctx, port);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
