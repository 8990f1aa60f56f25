package dev.baton.openai;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.AbstractList;
import java.util.Arrays;
import java.util.UUID;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.IntNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/// A prompt of token ids in a body's tree: an array node like any other to who reads it, but its numbers are
/// ints, and their text is there to be written again as it was.
///
/// A long prompt is a body of tens of kilobytes that holds little but numbers, and a tree of them costs a
/// young virtual machine milliseconds: one node for each, read by code that is not compiled yet. Here the
/// numbers are read by one loop, and the parser gets the body with a mark in their place. Only a list of
/// plain ids of up to seven digits is read so; whatever else a prompt is, and all that is wrong with a body,
/// is the parser's. Not to be changed.
public final class TokenIds extends ArrayNode {
    private static final long serialVersionUID = 1;

    private static final String FIELD = "prompt";
    private static final byte[] KEY = ("\"" + FIELD + "\"").getBytes(StandardCharsets.US_ASCII);

    /// Stands for the ids in what the parser reads and writes. Clients cannot know it.
    private static final String MARK = UUID.randomUUID().toString();

    private static final byte[] QUOTED_MARK = ("\"" + MARK + "\"").getBytes(StandardCharsets.US_ASCII);

    /// How far into a body the prompt may begin: what stands before it is looked at byte by byte.
    private static final int MAX_PREFIX_BYTES = 4096;

    private static final VarHandle LONGS = MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);
    private static final long ZEROS = 0x3030303030303030L;
    private static final long SIXES = 0x0606060606060606L;
    private static final long HIGH_HALVES = 0xF0F0F0F0F0F0F0F0L;
    private static final long PAIRS = 0x000000FF000000FFL;

    private final transient int[] ids;
    private final transient byte[] body;
    private final int from;
    private final int to;

    private TokenIds(int[] ids, byte[] body, int from, int to) {
        super(JsonNodeFactory.instance, new Nodes(ids));
        this.ids = ids;
        this.body = body;
        this.from = from;
        this.to = to;
    }

    /// The ids; not to be changed.
    public int[] ids() {
        return ids;
    }

    /// Where their list begins in the body that was read, at its bracket.
    public int from() {
        return from;
    }

    /// Where it ends, behind its bracket.
    public int to() {
        return to;
    }

    /// Reads a body as a parser does, only faster if its prompt is token ids.
    ///
    /// @param json the parser; what it throws is thrown here
    public static JsonNode parse(byte[] body, Function<byte[], JsonNode> json) {
        int from = listOfPrompt(body);
        TokenIds found = from < 0 ? null : read(body, from);
        if (found == null) {
            return json.apply(body);
        }
        byte[] marked = Arrays.copyOf(body, from + QUOTED_MARK.length + body.length - found.to);
        System.arraycopy(QUOTED_MARK, 0, marked, from, QUOTED_MARK.length);
        System.arraycopy(body, found.to, marked, from + QUOTED_MARK.length, body.length - found.to);
        JsonNode tree;
        try {
            tree = json.apply(marked);
        } catch (RuntimeException e) {
            return json.apply(body); // what is wrong with it has its place in the whole body
        }
        // A second prompt may have taken the place of the first, as in any object.
        if (tree instanceof ObjectNode object && isMark(object.get(FIELD))) {
            object.set(FIELD, found);
        }
        return tree;
    }

    /// Writes a body as a writer does, only faster if its prompt is token ids: these are copied as they came.
    ///
    /// @param tree is the same again afterwards
    /// @param json the writer
    public static byte[] bytes(ObjectNode tree, Function<Object, byte[]> json) {
        if (!(tree.get(FIELD) instanceof TokenIds ids)) {
            return json.apply(tree);
        }
        tree.put(FIELD, MARK);
        byte[] marked = json.apply(tree);
        tree.set(FIELD, ids);
        int at = 0;
        while (!Arrays.equals(
                marked, at, Math.min(marked.length, at + QUOTED_MARK.length), QUOTED_MARK, 0, QUOTED_MARK.length)) {
            at++;
        }
        int listBytes = ids.to - ids.from;
        byte[] bytes = new byte[marked.length - QUOTED_MARK.length + listBytes];
        System.arraycopy(marked, 0, bytes, 0, at);
        System.arraycopy(ids.body, ids.from, bytes, at, listBytes);
        int behind = at + QUOTED_MARK.length;
        System.arraycopy(marked, behind, bytes, at + listBytes, marked.length - behind);
        return bytes;
    }

    private static boolean isMark(@Nullable JsonNode node) {
        return node != null && node.isString() && node.stringValue().equals(MARK);
    }

    /// Where the list begins that is the prompt of a body; -1 if that is not seen at once.
    private static int listOfPrompt(byte[] body) {
        int end = Math.min(body.length, MAX_PREFIX_BYTES);
        int depth = 0;
        for (int i = 0; i < end; i++) {
            switch (body[i]) {
                case '{', '[' -> depth++;
                case '}', ']' -> depth--;
                case '"' -> {
                    int close = closingQuote(body, i, end);
                    int colon = skipSpace(body, close + 1);
                    boolean key = depth == 1 && colon < end && body[colon] == ':';
                    if (key && Arrays.equals(body, i, close + 1, KEY, 0, KEY.length)) {
                        int value = skipSpace(body, colon + 1);
                        return value < body.length && body[value] == '[' ? value : -1;
                    }
                    i = close;
                }
                default -> {}
            }
        }
        return -1;
    }

    /// The quote that ends a string; `end - 1` if there is none.
    private static int closingQuote(byte[] body, int open, int end) {
        int i = open + 1;
        while (i < end && body[i] != '"') {
            i += body[i] == '\\' ? 2 : 1;
        }
        return Math.min(i, end - 1);
    }

    private static int skipSpace(byte[] body, int from) {
        int i = from;
        while (i < body.length && isSpace(body[i])) {
            i++;
        }
        return i;
    }

    private static boolean isSpace(byte b) {
        return b == ' ' || b == '\n' || b == '\r' || b == '\t';
    }

    /// The list that begins at a bracket, or null if it is not one of plain ids.
    private static @Nullable TokenIds read(byte[] body, int from) {
        int[] ids = new int[(body.length - from) / 5 + 1]; // with its comma, most have five characters or more
        int count = 0;
        int i = from;
        byte separator;
        do {
            i = skipSpace(body, i + 1);
            long digits = word(body, i) ^ ZEROS; // each of its bytes is 0 to 9 if it was a digit
            int bits = Long.numberOfTrailingZeros((digits | (digits + SIXES)) & HIGH_HALVES) & -Byte.SIZE;
            if (bits == 0 || bits == Long.SIZE || (bits > Byte.SIZE && body[i] == '0')) {
                return null; // no digit, more than seven, or a zero in front
            }
            if (count == ids.length) {
                ids = Arrays.copyOf(ids, 2 * count);
            }
            ids[count++] = number(digits << (Long.SIZE - bits));
            i = skipSpace(body, i + bits / Byte.SIZE);
            separator = i < body.length ? body[i] : 0;
        } while (separator == ',');
        return separator == ']' ? new TokenIds(Arrays.copyOf(ids, count), body, from, i + 1) : null;
    }

    /// Eight bytes; behind the end there are zeros.
    private static long word(byte[] body, int at) {
        if (at <= body.length - Long.BYTES) {
            return (long) LONGS.get(body, at);
        }
        byte[] rest = new byte[Long.BYTES];
        System.arraycopy(body, at, rest, 0, body.length - at);
        return (long) LONGS.get(rest, 0);
    }

    /// Eight decimal digits as a number, the first in the lowest byte: neighbours are put together to pairs,
    /// and pairs to the whole. Like most ids, those of a prompt differ in length, and a loop over digits
    /// would be mispredicted.
    private static int number(long digits) {
        long pairs = 10 * digits + (digits >>> 8);
        long high = (pairs & PAIRS) * (100 + (1_000_000L << 32));
        long low = ((pairs >>> 16) & PAIRS) * (1 + (10_000L << 32));
        return (int) ((high + low) >>> 32);
    }

    /// The nodes of ids, each made when it is asked for.
    private static final class Nodes extends AbstractList<JsonNode> {
        private final int[] ids;

        private Nodes(int[] ids) {
            this.ids = ids;
        }

        @Override
        public JsonNode get(int index) {
            return IntNode.valueOf(ids[index]);
        }

        @Override
        public int size() {
            return ids.length;
        }
    }
}
