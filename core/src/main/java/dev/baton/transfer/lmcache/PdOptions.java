package dev.baton.transfer.lmcache;

import dev.baton.transfer.TransferException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/// Settings of prefill and decode over NIXL, under LMCache's names of today (`pd_role`) and of the generation
/// before (`nixl_role`), which are the same settings.
///
/// @param isSender `pd_role`: whether this is a prefiller, else a decoder
/// @param bufferBytes `pd_buffer_size`: a decoder's memory for chunks that arrive
/// @param host `pd_peer_host`: where a decoder listens
/// @param initPort `pd_peer_init_port`: where it tells its memory; the first of a list, one for each rank
/// @param allocPort `pd_peer_alloc_port`: where it gives pages
/// @param proxyHost `pd_proxy_host`: whom a prefiller tells that a prompt's chunks are there; nobody with
///     `pd_skip_proxy_notification`
/// @param proxyPort `pd_proxy_port`
/// @param nixlHome `nixl_home` of `kv_connector_extra_config`: where the NIXL library lies
record PdOptions(
        boolean isSender,
        long bufferBytes,
        String host,
        int initPort,
        int allocPort,
        Optional<String> proxyHost,
        int proxyPort,
        Optional<Path> nixlHome) {

    private static final Map<String, List<String>> NAMES = Map.of(
            "role", List.of("pd_role", "nixl_role"),
            "size", List.of("pd_buffer_size", "nixl_buffer_size"),
            "device", List.of("pd_buffer_device", "nixl_buffer_device"),
            "host", List.of("pd_peer_host", "nixl_peer_host"),
            "init", List.of("pd_peer_init_port", "nixl_peer_init_port"),
            "alloc", List.of("pd_peer_alloc_port", "nixl_peer_alloc_port"),
            "proxy", List.of("pd_proxy_host", "nixl_proxy_host"),
            "port", List.of("pd_proxy_port", "nixl_proxy_port"));

    /// Any of these switches it on.
    private static final List<String> SWITCHES = List.of("enable_pd", "enable_xpyd", "enable_nixl");

    private static final String SKIP = "pd_skip_proxy_notification";
    private static final String CHANNEL = "transfer_channel";
    private static final String BACKENDS = "nixl_backends";
    /// Says how LMCache itself waits; the messages are the same.
    private static final String MODE = "pd_backend_mode";

    /// Keys that are read.
    static final Set<String> KEYS = keys();

    /// Keys whose value may be a list: one for each rank.
    static final Set<String> LISTS =
            Set.of("pd_peer_init_port", "nixl_peer_init_port", "pd_peer_alloc_port", "nixl_peer_alloc_port", BACKENDS);

    private static final int MAX_PORT = 65_535;
    private static final double MAX_BYTES = 1L << 50;

    private static Set<String> keys() {
        Set<String> keys = new java.util.TreeSet<>(SWITCHES);
        NAMES.values().forEach(keys::addAll);
        keys.addAll(List.of(SKIP, CHANNEL, BACKENDS, MODE));
        return java.util.Collections.unmodifiableSet(keys);
    }

    static boolean isEnabled(LmCacheSettings settings) {
        return SWITCHES.stream().anyMatch(key -> settings.flag(key, false));
    }

    /// Reads the settings.
    ///
    /// @return empty if this is not switched on
    /// @throws TransferException if a key is missing or asks for what is not there
    static Optional<PdOptions> of(LmCacheSettings settings) {
        if (!isEnabled(settings)) {
            return Optional.empty();
        }
        String role = settings.text(key(settings, "role")).orElse("");
        if (!role.equals("sender") && !role.equals("receiver")) {
            throw new TransferException("pd_role is \"%s\" (%s); needed: sender or receiver"
                    .formatted(role, settings.origin(key(settings, "role"))));
        }
        only(settings, key(settings, "device"), "cpu");
        only(settings, CHANNEL, "nixl");
        only(settings, BACKENDS, "UCX");
        boolean isSender = role.equals("sender");
        boolean tells = isSender && !settings.flag(SKIP, false);
        return Optional.of(new PdOptions(
                isSender,
                isSender ? 0 : (long) settings.number(required(settings, "size"), 0, 1, MAX_BYTES),
                isSender ? "" : settings.text(required(settings, "host")).orElseThrow(),
                isSender ? 0 : port(settings, "init"),
                isSender ? 0 : port(settings, "alloc"),
                tells ? settings.text(required(settings, "proxy")) : Optional.empty(),
                tells ? port(settings, "port") : 0,
                settings.extraText("nixl_home").map(Path::of)));
    }

    private static String key(LmCacheSettings settings, String what) {
        List<String> names = NAMES.getOrDefault(what, List.of());
        return names.stream()
                .filter(name -> settings.text(name).isPresent())
                .findFirst()
                .orElse(names.getFirst());
    }

    private static String required(LmCacheSettings settings, String what) {
        String key = key(settings, what);
        if (settings.text(key).isEmpty()) {
            throw new TransferException("%s is not set; a %s needs it"
                    .formatted(key, settings.text(key(settings, "role")).orElse("")));
        }
        return key;
    }

    private static void only(LmCacheSettings settings, String key, String value) {
        String given = settings.text(key).orElse(value);
        if (!given.equals(value)) {
            throw new TransferException("%s is \"%s\" (%s); this version has only \"%s\""
                    .formatted(key, given, settings.origin(key), value));
        }
    }

    private static int port(LmCacheSettings settings, String what) {
        String key = required(settings, what);
        String text = settings.text(key).orElseThrow();
        String first = text.split(",", -1)[0].strip();
        if (first.matches("[0-9]{1,5}") && Integer.parseInt(first) <= MAX_PORT) {
            return Integer.parseInt(first);
        }
        throw new TransferException("%s is \"%s\" (%s); needed: a port, or a list with one for each rank"
                .formatted(key, text, settings.origin(key)));
    }
}
