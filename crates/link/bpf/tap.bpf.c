// Stamps a sample of the frames that enter a box by one interface and leave it by another, where the kernel forwards between the two.
// Frames go on as they are.
#include "stamp.h"

static __always_inline int pass(struct __sk_buff *ctx, __u32 side)
{
	stamp(side, (__u8 *)(long)ctx->data, (__u8 *)(long)ctx->data_end);
	return TCX_NEXT;
}

SEC("classifier") int natrig_tap_in(struct __sk_buff *ctx)
{
	return pass(ctx, SIDE_IN);
}

SEC("classifier") int natrig_tap_out(struct __sk_buff *ctx)
{
	return pass(ctx, SIDE_OUT);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
