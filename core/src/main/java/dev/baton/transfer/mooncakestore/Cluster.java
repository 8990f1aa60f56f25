package dev.baton.transfer.mooncakestore;

import dev.baton.transfer.TransferException;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/// The Mooncake cluster that a client joins, in the words of Mooncake's `setup`.
///
/// Immutable, thread-safe.
///
/// @param masterAddress `host:port` of `mooncake_master`
/// @param metadataServer a URL, or `P2PHANDSHAKE`
/// @param segmentBytes memory that this client gives to the cluster; none in most cases
/// @param bufferBytes memory of the client's own for values on their way
public record Cluster(
        String masterAddress,
        String metadataServer,
        String protocol,
        String deviceName,
        long segmentBytes,
        long bufferBytes) {

    /// Key of the master's address.
    public static final String MASTER = "master_server_address";
    /// Key of the device's name.
    public static final String DEVICE = "device_name";
    /// Key of the tenant's name.
    public static final String TENANT = "tenant_id";

    static final String SEGMENT = "global_segment_size";

    private static final String METADATA = "metadata_server";
    private static final String PROTOCOL = "protocol";
    private static final String BUFFER = "local_buffer_size";

    /// The keys that [#of] reads.
    public static final Set<String> KEYS = Set.of(MASTER, METADATA, PROTOCOL, DEVICE, SEGMENT, BUFFER, TENANT);

    /// What [#bufferBytes] is unless it is set.
    public static final long DEFAULT_BUFFER_BYTES = 64L << 20;

    private static final long MAX_BYTES = 1L << 50;
    private static final Pattern SIZE = Pattern.compile("\\s*([0-9]+(?:\\.[0-9]+)?)\\s*(gb|mb|kb|b)?\\s*");

    /// Reads a cluster's keys.
    ///
    /// @param where they are, for refusals
    /// @param values of [#KEYS]; others are not read
    /// @param segmentBytes [#segmentBytes] unless it is set
    /// @throws TransferException if a value makes no sense, or there is no master
    public static Cluster of(String where, Map<String, Object> values, long segmentBytes) {
        String tenant = word(where, values, TENANT, "").strip();
        if (!tenant.isEmpty() && !tenant.equals("default")) {
            throw new TransferException("%s: tenant_id is \"%s\"; this version speaks for the tenant \"default\" only"
                    .formatted(where, tenant));
        }
        String master = word(where, values, MASTER, "");
        if (!master.matches("[^\\s:/]{1,255}:[0-9]{1,5}") || port(master) > 65_535) {
            throw new TransferException(
                    "%s: %s is \"%s\"; needed: host:port of mooncake_master".formatted(where, MASTER, master));
        }
        return new Cluster(
                master,
                word(where, values, METADATA, "P2PHANDSHAKE"),
                word(where, values, PROTOCOL, "tcp"),
                word(where, values, DEVICE, ""),
                size(where, values, SEGMENT, segmentBytes),
                size(where, values, BUFFER, DEFAULT_BUFFER_BYTES));
    }

    /// A text without what would end a word of a command or a key.
    ///
    /// @throws TransferException if the value is none
    public static String word(String where, Map<String, Object> values, String key, String otherwise) {
        Object value = values.getOrDefault(key, otherwise);
        if (value instanceof String text && isWord(text)) {
            return text;
        }
        throw new TransferException(
                "%s: %s is %s; needed: a text without control characters".formatted(where, key, value));
    }

    /// Whether a text has no control characters, which separate what a helper process is told.
    static boolean isWord(String text) {
        return text.chars().noneMatch(c -> c < ' ' || c == 127);
    }

    /// Bytes, or a text like `4GB` as vLLM reads it.
    static long size(String where, Map<String, Object> values, String key, long otherwise) {
        Object value = values.getOrDefault(key, otherwise);
        Matcher matcher = SIZE.matcher(String.valueOf(value).toLowerCase(Locale.ROOT));
        if (matcher.matches()) {
            String unit = matcher.group(2) == null ? "b" : matcher.group(2);
            double bytes = Double.parseDouble(matcher.group(1))
                    * switch (unit) {
                        case "gb" -> 1L << 30;
                        case "mb" -> 1L << 20;
                        case "kb" -> 1L << 10;
                        default -> 1L;
                    };
            if (bytes <= MAX_BYTES) {
                return (long) bytes;
            }
        }
        throw new TransferException("%s: %s is %s; needed: bytes, or a text like 4GB".formatted(where, key, value));
    }

    /// Host of the master.
    String masterHost() {
        return masterAddress.substring(0, masterAddress.lastIndexOf(':'));
    }

    /// Port of the master.
    int masterPort() {
        return port(masterAddress);
    }

    private static int port(String address) {
        return Integer.parseInt(address.substring(address.lastIndexOf(':') + 1));
    }
}
