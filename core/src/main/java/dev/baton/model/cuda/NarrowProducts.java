package dev.baton.model.cuda;

/// Which products of a decode step of few rows the kernels for few rows do, because they were faster than
/// cuBLAS when it was measured here; the rest is cuBLAS's.
///
/// @param qkv with the norm in front of it
/// @param attentionOut with the sum behind it
/// @param gateUp with the norm in front of it and the activation behind it
/// @param down with the sum behind it
/// @param logits with the norm in front of it
record NarrowProducts(boolean qkv, boolean attentionOut, boolean gateUp, boolean down, boolean logits) {
    static final NarrowProducts NONE = new NarrowProducts(false, false, false, false, false);
}
