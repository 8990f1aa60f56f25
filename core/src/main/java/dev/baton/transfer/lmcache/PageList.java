package dev.baton.transfer.lmcache;

import java.net.ProtocolException;
import java.nio.BufferUnderflowException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/// A list of memory descriptors as NIXL's Python package sends it: NIXL's own serialisation, inside of Python's
/// pickle of its class. The few operations of pickle that this takes are read one by one; nothing is looked up
/// or called. Immutable.
///
/// @param module of the class, which Python has to find: `nixl_cu13._bindings` for example
/// @param memory NIXL's number of the kind of memory
/// @param pages `(address, length, device)` of each, one behind the other
record PageList(String module, int memory, long[] pages) {
    private static final int MAX_PAGES = 1 << 20;
    private static final int WORDS = 3;
    private static final String CLASS = "nixlXferDList";
    private static final byte END = '|';

    int size() {
        return pages.length / WORDS;
    }

    long address(int page) {
        return pages[WORDS * page];
    }

    long length(int page) {
        return pages[WORDS * page + 1];
    }

    long device(int page) {
        return pages[WORDS * page + 2];
    }

    /// A list of equally large pages of main memory.
    static PageList of(String module, int memory, long address, long pageBytes, int count) {
        long[] pages = new long[WORDS * count];
        for (int i = 0; i < count; i++) {
            pages[WORDS * i] = address + i * pageBytes;
            pages[WORDS * i + 1] = pageBytes;
        }
        return new PageList(module, memory, pages);
    }

    byte[] bytes() {
        byte[] state = state();
        byte[] name = module.getBytes(StandardCharsets.UTF_8);
        ByteBuffer out = ByteBuffer.allocate(64 + name.length + state.length).order(ByteOrder.LITTLE_ENDIAN);
        out.put((byte) 0x80).put((byte) 4); // protocol
        out.put((byte) 0x8c).put((byte) name.length).put(name);
        out.put((byte) 0x8c).put((byte) CLASS.length()).put(CLASS.getBytes(StandardCharsets.US_ASCII));
        out.put((byte) 0x93).put((byte) ')').put((byte) 0x81); // the class, no arguments, a new object
        out.put((byte) 'B').putInt(state.length).put(state);
        out.put((byte) 'b').put((byte) '.'); // its state, end
        return Arrays.copyOf(out.array(), out.position());
    }

    private byte[] state() {
        ByteBuffer out = ByteBuffer.allocate(128 + pages.length * Long.BYTES).order(ByteOrder.LITTLE_ENDIAN);
        out.put("nixlSerDes|".getBytes(StandardCharsets.US_ASCII));
        part(out, "nixlDList", "nixlBDList".getBytes(StandardCharsets.US_ASCII));
        part(
                out,
                "t",
                ByteBuffer.allocate(Integer.BYTES)
                        .order(ByteOrder.LITTLE_ENDIAN)
                        .putInt(memory)
                        .array());
        part(
                out,
                "n",
                ByteBuffer.allocate(Long.BYTES)
                        .order(ByteOrder.LITTLE_ENDIAN)
                        .putLong(size())
                        .array());
        ByteBuffer words = ByteBuffer.allocate(pages.length * Long.BYTES).order(ByteOrder.LITTLE_ENDIAN);
        words.asLongBuffer().put(pages);
        part(out, "", words.array());
        return Arrays.copyOf(out.array(), out.position());
    }

    private static void part(ByteBuffer out, String name, byte[] value) {
        out.put(name.getBytes(StandardCharsets.US_ASCII))
                .putLong(value.length)
                .put(value)
                .put(END);
    }

    /// Reads a list.
    ///
    /// @throws ProtocolException if it is none, or one of something else than memory of a host or a GPU
    static PageList read(byte[] pickled) throws ProtocolException {
        List<String> texts = new ArrayList<>();
        byte[] state = {};
        try {
            ByteBuffer in = ByteBuffer.wrap(pickled).order(ByteOrder.LITTLE_ENDIAN);
            for (int operation = in.get() & 0xff; operation != '.'; operation = in.get() & 0xff) {
                switch (operation) {
                    case 0x80 -> in.get();
                    case 0x95 -> in.getLong(); // a frame's length
                    case 0x8c -> texts.add(new String(take(in, in.get() & 0xff), StandardCharsets.UTF_8));
                    case 'X' -> texts.add(new String(take(in, in.getInt()), StandardCharsets.UTF_8));
                    case 'C' -> state = take(in, in.get() & 0xff);
                    case 'B' -> state = take(in, in.getInt());
                    case 0x94, 0x93, ')', 0x81, 'b' -> {} // remember, class, no arguments, new, build
                    default -> throw malformed();
                }
                if (texts.size() > 2) {
                    throw malformed(); // before they are many
                }
            }
            if (texts.size() != 2
                    || !texts.getLast().equals(CLASS)
                    || !texts.getFirst().matches("[A-Za-z0-9_.]{1,100}")) {
                throw malformed();
            }
            return read(texts.getFirst(), ByteBuffer.wrap(state).order(ByteOrder.LITTLE_ENDIAN));
        } catch (BufferUnderflowException e) {
            throw (ProtocolException) malformed().initCause(e);
        }
    }

    private static PageList read(String module, ByteBuffer state) throws ProtocolException {
        expect(state, "nixlSerDes|");
        byte[] _ = part(state, "nixlDList");
        byte[] memory = part(state, "t");
        byte[] count = part(state, "n");
        byte[] words = part(state, "");
        if (memory.length != Integer.BYTES || count.length != Long.BYTES || words.length % (WORDS * Long.BYTES) != 0) {
            throw malformed();
        }
        long[] pages = new long[words.length / Long.BYTES];
        ByteBuffer.wrap(words).order(ByteOrder.LITTLE_ENDIAN).asLongBuffer().get(pages);
        long size = ByteBuffer.wrap(count).order(ByteOrder.LITTLE_ENDIAN).getLong();
        if (size != pages.length / WORDS || size > MAX_PAGES) {
            throw malformed();
        }
        return new PageList(
                module, ByteBuffer.wrap(memory).order(ByteOrder.LITTLE_ENDIAN).getInt(), pages);
    }

    private static byte[] part(ByteBuffer in, String name) throws ProtocolException {
        expect(in, name);
        long length = in.getLong();
        if (length < 0 || length > in.remaining()) {
            throw malformed();
        }
        byte[] value = take(in, (int) length);
        expect(in, "|");
        return value;
    }

    private static void expect(ByteBuffer in, String text) throws ProtocolException {
        if (!new String(take(in, text.length()), StandardCharsets.ISO_8859_1).equals(text)) {
            throw malformed();
        }
    }

    private static byte[] take(ByteBuffer in, int length) throws ProtocolException {
        if (length < 0 || length > in.remaining()) {
            throw malformed();
        }
        byte[] taken = new byte[length];
        in.get(taken);
        return taken;
    }

    private static ProtocolException malformed() {
        return new ProtocolException("it is no list of NIXL's memory descriptors");
    }
}
