package dev.baton.launch;

/// Hears what becomes of the roles, one call at a time. Must return quickly.
@FunctionalInterface
public interface RoleListener {
    void onStatus(Role role, RoleStatus status);
}
