package dev.baton.discovery;

import java.net.InetAddress;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.regex.Pattern;

/// Which addresses engines may register, so that nobody makes a router send requests to what only it can reach: a
/// cloud's metadata service, a database. Immutable and thread-safe.
///
/// An address is compared with networks, a name with names; no name is looked up, because what it means can change
/// after it was looked at.
public final class AllowedEngines {
    private static final List<String> PRIVATE = List.of(
            "127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7");
    private static final Pattern NAME = Pattern.compile("(\\*\\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?");
    private static final String ALL = "*";

    private final List<Network> networks;
    private final List<String> names;
    private final boolean all;

    private record Network(byte[] prefix, int bits) {
        boolean contains(byte[] address) {
            if (address.length != prefix.length) {
                return false;
            }
            for (int bit = 0; bit < bits; bit++) {
                int mask = 0x80 >> (bit & 7);
                if (((address[bit >> 3] ^ prefix[bit >> 3]) & mask) != 0) {
                    return false;
                }
            }
            return true;
        }
    }

    private AllowedEngines(List<Network> networks, List<String> names, boolean all) {
        this.networks = networks;
        this.names = names;
        this.all = all;
    }

    /// This machine and private networks (RFC 1918, 6598, 4193), not link-local ones; the name `localhost`.
    public static AllowedEngines privateNetworks() {
        return parse(List.of()).withPrivate();
    }

    /// Reads networks (`10.1.0.0/16`, `fd00::/8`), addresses, names (`node1`), names under a domain
    /// (`*.prefill.svc`), `private` for [#privateNetworks], and `*` for everything.
    ///
    /// @throws DiscoveryException naming the entry that is none of these
    public static AllowedEngines parse(List<String> entries) {
        List<Network> networks = new ArrayList<>();
        List<String> names = new ArrayList<>();
        boolean all = false;
        boolean withPrivate = false;
        for (String entry : entries) {
            String text = entry.strip().toLowerCase(Locale.ROOT);
            int slash = text.indexOf('/');
            if (text.equals(ALL)) {
                all = true;
            } else if (text.equals("private")) {
                withPrivate = true;
            } else if (slash >= 0 || literal(text).length > 0) {
                networks.add(network(entry, slash < 0 ? text : text.substring(0, slash), slash, text));
            } else if (NAME.matcher(text).matches()) {
                names.add(text);
            } else {
                throw wrong(entry);
            }
        }
        AllowedEngines allowed = new AllowedEngines(List.copyOf(networks), List.copyOf(names), all);
        return withPrivate ? allowed.withPrivate() : allowed;
    }

    private AllowedEngines withPrivate() {
        List<Network> more = new ArrayList<>(networks);
        PRIVATE.forEach(text -> more.add(network(text, text.substring(0, text.indexOf('/')), text.indexOf('/'), text)));
        List<String> moreNames = new ArrayList<>(names);
        moreNames.add("localhost");
        return new AllowedEngines(List.copyOf(more), List.copyOf(moreNames), all);
    }

    private static Network network(String entry, String address, int slash, String text) {
        byte[] bytes = literal(address);
        int bits = bytes.length * 8;
        if (slash >= 0) {
            try {
                bits = Integer.parseInt(text.substring(slash + 1));
            } catch (NumberFormatException e) {
                throw wrong(entry);
            }
        }
        if (bytes.length == 0 || bits < 0 || bits > bytes.length * 8) {
            throw wrong(entry);
        }
        return new Network(bytes, bits);
    }

    private static DiscoveryException wrong(String entry) {
        return new DiscoveryException("'" + entry
                + "' is no network such as 10.0.0.0/8, no address, and no name such as " + "node1 or *.example.org");
    }

    /// The bytes of an address in digits; none for a name.
    private static byte[] literal(String host) {
        try {
            return InetAddress.ofLiteral(host).getAddress();
        } catch (IllegalArgumentException e) {
            return new byte[0];
        }
    }

    /// Lets an engine pass whose every host is allowed: its server's, and its connector's.
    ///
    /// @throws DiscoveryException naming the host that is not, and the flag
    public void check(EngineInfo engine) {
        check(engine.address().host());
        switch (engine.endpoint()) {
            case ConnectorEndpoint.P2pNccl(String zmqAddress) ->
                check(EngineAddress.parse(zmqAddress).host());
            case ConnectorEndpoint.NixlSideChannel nixl -> check(nixl.host());
            case ConnectorEndpoint.LmCacheReceiver lmcache -> check(lmcache.host());
            case ConnectorEndpoint.Unnamed unnamed -> {}
            case ConnectorEndpoint.Bootstrap bootstrap -> {}
            case ConnectorEndpoint.Mooncake mooncake -> {} // on the engine's own host
        }
    }

    private void check(String host) {
        byte[] address = literal(host);
        boolean allowed = all
                || (address.length > 0
                        ? networks.stream().anyMatch(network -> network.contains(address))
                        : names.stream().anyMatch(name -> matches(name, host.toLowerCase(Locale.ROOT))));
        if (!allowed) {
            throw new DiscoveryException("engines may not register " + host + ": see --allowed-engines");
        }
    }

    private static boolean matches(String name, String host) {
        return name.startsWith("*.") ? host.endsWith(name.substring(1)) : host.equals(name);
    }
}
