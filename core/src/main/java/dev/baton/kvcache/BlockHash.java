package dev.baton.kvcache;

import java.util.HexFormat;

/// The 128-bit name of a full block: of its tokens and of all tokens before them.
public record BlockHash(long high, long low) {
    /// 32 hexadecimal digits.
    @Override
    public String toString() {
        HexFormat hex = HexFormat.of();
        return hex.toHexDigits(high) + hex.toHexDigits(low);
    }
}
