package dev.baton.tokenizer;

/// Decodes UTF-8 byte by byte; what is not UTF-8 becomes U+FFFD, one for each maximal part of a character, as
/// Unicode recommends and as Rust's `String::from_utf8_lossy` does. One thread.
///
/// The state machine is that of the WHATWG Encoding Standard's UTF-8 decoder.
final class Utf8Stream {
    private static final char REPLACEMENT = '\ufffd';

    private int codePoint;
    private int missing;
    private int lower = 0x80;
    private int upper = 0xbf;

    /// Takes one byte and appends what it completes.
    void accept(byte next, StringBuilder out) {
        int value = next & 0xff;
        if (missing > 0) {
            if (value >= lower && value <= upper) {
                lower = 0x80;
                upper = 0xbf;
                codePoint = codePoint << 6 | (value & 0x3f);
                if (--missing == 0) {
                    out.appendCodePoint(codePoint);
                }
                return;
            }
            finish(out);
        }
        begin(value, out);
    }

    private void begin(int value, StringBuilder out) {
        if (value < 0x80) {
            out.append((char) value);
        } else if (value >= 0xc2 && value <= 0xdf) {
            missing = 1;
            codePoint = value & 0x1f;
        } else if (value >= 0xe0 && value <= 0xef) {
            missing = 2;
            codePoint = value & 0x0f;
            lower = value == 0xe0 ? 0xa0 : 0x80;
            upper = value == 0xed ? 0x9f : 0xbf;
        } else if (value >= 0xf0 && value <= 0xf4) {
            missing = 3;
            codePoint = value & 0x07;
            lower = value == 0xf0 ? 0x90 : 0x80;
            upper = value == 0xf4 ? 0x8f : 0xbf;
        } else {
            out.append(REPLACEMENT);
        }
    }

    /// Gives up on a character that is not complete.
    void finish(StringBuilder out) {
        if (missing > 0) {
            missing = 0;
            lower = 0x80;
            upper = 0xbf;
            out.append(REPLACEMENT);
        }
    }
}
