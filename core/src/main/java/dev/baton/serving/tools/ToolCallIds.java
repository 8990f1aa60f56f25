package dev.baton.serving.tools;

import java.util.HexFormat;
import java.util.concurrent.ThreadLocalRandom;

/// How tool calls are named. Thread-safe.
public enum ToolCallIds {
    /// `chatcmpl-tool-` and 16 hexadecimal digits.
    RANDOM {
        @Override
        String next() {
            return "chatcmpl-tool-"
                    + HexFormat.of().toHexDigits(ThreadLocalRandom.current().nextLong());
        }
    },

    /// 9 letters and digits, as Mistral's templates demand.
    MISTRAL {
        @Override
        String next() {
            StringBuilder id = new StringBuilder(MISTRAL_CHARACTERS);
            for (int i = 0; i < MISTRAL_CHARACTERS; i++) {
                id.append(ALPHANUMERIC.charAt(ThreadLocalRandom.current().nextInt(ALPHANUMERIC.length())));
            }
            return id.toString();
        }
    };

    private static final int MISTRAL_CHARACTERS = 9;
    private static final String ALPHANUMERIC = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

    abstract String next();
}
