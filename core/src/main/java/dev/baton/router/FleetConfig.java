package dev.baton.router;

import dev.baton.discovery.AllowedEngines;
import dev.baton.http.ApiKeys;

/// Who may see and change a router's fleet over HTTP. Immutable and thread-safe.
///
/// @param adminKeys keys of which one must be shown; without any, the fleet may be seen by everybody
/// @param openRegistration whether it may be changed by everybody as long as there is no key
/// @param allowed which engines may be added
public record FleetConfig(ApiKeys adminKeys, boolean openRegistration, AllowedEngines allowed) {
    /// The fleet can be seen and not changed.
    public static FleetConfig defaults() {
        return new FleetConfig(ApiKeys.none(), false, AllowedEngines.privateNetworks());
    }
}
