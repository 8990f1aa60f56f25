package dev.baton.router.policy;

import dev.baton.openai.TokenIds;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/// A prompt as a chain of hashes, one for each [#BLOCK_BYTES] bytes, each over everything before it: two prompts
/// share a hash if they are equal up to there.
///
/// The router has no tokenizer, so it is the prompt's text that is cut, or its token ids at four bytes each; either
/// way a block is about 16 tokens. The messages of a chat are written one behind the other, so that a turn's prompt
/// begins with the whole prompt of the turn before. What stands before the first message in every chat template
/// (model, tools, template and its arguments, documents, `cache_salt`) is the chain's root.
///
/// Hashes have 64 bits and a key of the process. What they decide is where a request is computed, never what its
/// answer is. Multiply and fold as in Wang Yi's wyhash. Used under the policy's lock.
final class PromptBlocks {
    /// Bytes of a block.
    static final int BLOCK_BYTES = 64;

    /// Blocks that are looked at: 1 MiB of prompt. What comes behind counts as held by nobody.
    static final int MAX_BLOCKS = 1 << 14;

    private static final int OPENING_BYTES = 256;
    private static final long OPENING_KEY = 0x9E3779B97F4A7C15L;
    private static final long MIX_A = 0xA0761D6478BD642FL;
    private static final long MIX_B = 0xE7037ED1A0B428DBL;
    private static final VarHandle INTS = MethodHandles.byteArrayViewVarHandle(int[].class, ByteOrder.LITTLE_ENDIAN);
    private static final VarHandle LONGS = MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);

    /// Members of a chat request that come before or change the text of its messages, and those of any request that
    /// keep caches apart.
    private static final String[] ROOT_FIELDS = {
        "model", "cache_salt", "tools", "documents", "chat_template", "chat_template_kwargs", "reasoning_effort"
    };

    private static final byte FIELD_END = 0x1F;
    private static final byte MESSAGE_END = 0x1E;

    private byte[] bytes;
    private final int length;
    private final long root;
    private final long endHash;
    private final long openingHash;
    private final boolean ids;
    private final int answerAt;
    private final int turn;
    private final long[] chain;

    private PromptBlocks(byte[] bytes, int length, long root, boolean ids, int answerAt, int turn) {
        this.bytes = bytes;
        this.length = length;
        this.root = root;
        this.ids = ids;
        this.answerAt = answerAt;
        this.turn = turn;
        this.chain = new long[Math.min(length / BLOCK_BYTES, MAX_BLOCKS)];
        long hash = root;
        long group = root;
        for (int i = 0; i < chain.length; i++) {
            hash = mix(hash ^ blockHash(i * BLOCK_BYTES), MIX_A);
            int place = i % PrefixIndex.GROUP;
            group = place == 0 ? hash : group;
            chain[i] = PrefixIndex.key(group, hash, place);
        }
        endHash = hashUpTo(length);
        openingHash = hash(bytes, 0, Math.min(length, OPENING_BYTES), OPENING_KEY);
    }

    /// Reads a request's prompt; one that has none, or not one that can be read, has no blocks.
    ///
    /// @param key of the process
    static PromptBlocks of(ObjectNode body, boolean chat, long key) {
        long root = mix(key ^ (chat ? MIX_A : MIX_B), MIX_B);
        for (String field : ROOT_FIELDS) {
            JsonNode value = body.path(field);
            if (!value.isMissingNode() && !value.isNull()) {
                byte[] text = utf8(value.isString() ? value.stringValue() : value.toString());
                root = mix(root ^ hash(text, 0, text.length, MIX_A), MIX_B ^ field.hashCode());
            }
        }
        if (chat) {
            return ofMessages(body.path("messages"), root);
        }
        JsonNode prompt = body.path("prompt");
        while (prompt.isArray() && !prompt.isEmpty() && !prompt.get(0).isNumber()) {
            prompt = prompt.get(0); // the first of several; these are not handed over
        }
        boolean ids = prompt.isArray();
        byte[] bytes = ids ? bytes(idsOf(prompt)) : utf8(prompt.asString(""));
        return new PromptBlocks(bytes, bytes.length, root, ids, 0, 0);
    }

    private static PromptBlocks ofMessages(JsonNode messages, long root) {
        Bytes out = new Bytes();
        int answerAt = 0;
        int turn = 1;
        for (JsonNode message : messages) {
            if (message.path("role").asString("").equals("assistant")) {
                answerAt = out.length;
                turn++;
            }
            writeMessage(out, message);
        }
        return new PromptBlocks(out.bytes, out.length, root, false, answerAt, turn);
    }

    private static int[] idsOf(JsonNode list) {
        if (list instanceof TokenIds read) {
            return read.ids();
        }
        int[] ids = new int[list.size()];
        int i = 0;
        for (JsonNode id : list) {
            ids[i++] = id.isInt() ? id.intValue() : id.asString("").hashCode();
        }
        return ids;
    }

    private static byte[] bytes(int[] ids) {
        byte[] bytes = new byte[ids.length * Integer.BYTES];
        for (int i = 0; i < ids.length; i++) {
            INTS.set(bytes, i * Integer.BYTES, ids[i]);
        }
        return bytes;
    }

    private static void writeMessage(Bytes out, JsonNode message) {
        out.field(message.path("role"));
        out.field(message.path("name"));
        out.field(message.path("tool_call_id"));
        JsonNode content = message.path("content");
        if (content.isArray()) {
            for (JsonNode part : content) {
                JsonNode text = part.path("text");
                out.put(text.isString() ? text : part);
            }
        } else {
            out.put(content);
        }
        out.put(FIELD_END);
        out.put(message.path("tool_calls"));
        out.put(MESSAGE_END);
    }

    /// Bytes that grow.
    private static final class Bytes {
        private byte[] bytes = new byte[1024];
        private int length;

        private void field(JsonNode value) {
            put(value);
            put(FIELD_END);
        }

        private void put(JsonNode value) {
            if (value.isString()) {
                put(utf8(value.stringValue()));
            } else if (!value.isMissingNode() && !value.isNull()) {
                put(utf8(value.toString()));
            }
        }

        private void put(byte value) {
            reserve(1);
            bytes[length++] = value;
        }

        private void put(byte[] added) {
            reserve(added.length);
            System.arraycopy(added, 0, bytes, length, added.length);
            length += added.length;
        }

        private void reserve(int more) {
            if (bytes.length - length < more) {
                bytes = Arrays.copyOf(bytes, Math.max(2 * bytes.length, length + more));
            }
        }
    }

    private static byte[] utf8(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    /// Hashes by block; not to be changed.
    long[] chain() {
        return chain;
    }

    /// Bytes of the prompt.
    int length() {
        return length;
    }

    /// Whether the prompt is token ids, at four bytes each.
    boolean ids() {
        return ids;
    }

    /// Where a chat's last answer begins, that is where the prompt of the turn before ended; 0 if there is none or
    /// it is no chat.
    int answerAt() {
        return answerAt;
    }

    /// Which turn of its chat this is, from 1, by the answers in it; 0 if it is no chat.
    int turn() {
        return turn;
    }

    /// The hash of the whole prompt, other than the last of the chain.
    long endHash() {
        return endHash;
    }

    /// Gives the prompt's bytes back: there is no [#hashUpTo] any more.
    void forgetBytes() {
        bytes = new byte[0];
    }

    /// The hash of the first `prefixBytes` bytes, at most [#length].
    long hashUpTo(int prefixBytes) {
        int whole = Math.min(prefixBytes / BLOCK_BYTES, chain.length);
        int from = whole * BLOCK_BYTES;
        return mix(hash(bytes, from, prefixBytes, MIX_B) ^ upTo(whole), MIX_B ^ prefixBytes);
    }

    /// The hash over so many blocks; with 0 that of what stands before the prompt.
    long upTo(int blocks) {
        return blocks == 0 ? root : chain[blocks - 1];
    }

    /// A hash of the prompt's first bytes that is the same in every process.
    long openingHash() {
        return openingHash;
    }

    /// The hash of a text that is the same in every process.
    static long hashOf(String text) {
        byte[] bytes = utf8(text);
        return hash(bytes, 0, bytes.length, OPENING_KEY);
    }

    /// Scatters the bits of `a` and `b` over 64 others.
    static long mix(long a, long b) {
        return (a * b) ^ Math.unsignedMultiplyHigh(a, b) ^ (a >>> 32);
    }

    private long blockHash(int at) {
        long first = mix(word(at) ^ MIX_A, word(at + 8) ^ MIX_B);
        long second = mix(word(at + 16) ^ MIX_B, word(at + 24) ^ MIX_A);
        long third = mix(word(at + 32) ^ OPENING_KEY, word(at + 40) ^ MIX_A);
        long fourth = mix(word(at + 48) ^ MIX_B, word(at + 56) ^ OPENING_KEY);
        return (first ^ Long.rotateLeft(second, 21)) + (Long.rotateLeft(third, 37) ^ Long.rotateLeft(fourth, 51));
    }

    private long word(int at) {
        return (long) LONGS.get(bytes, at);
    }

    private static long hash(byte[] bytes, int from, int to, long key) {
        long hash = mix(key ^ (to - from), MIX_A);
        int at = from;
        for (; at + Long.BYTES <= to; at += Long.BYTES) {
            hash = mix(hash ^ (long) LONGS.get(bytes, at), MIX_B);
        }
        long rest = 1; // the sentinel tells trailing zeros apart
        for (; at < to; at++) {
            rest = (rest << 8) | (bytes[at] & 0xFF);
        }
        return mix(hash ^ rest, MIX_A);
    }
}
