"""The configurations of scripts/compare-net-rpc.

For each proxy: how it says its version, how it is started, and for each mode its files (suffix → text). `plain` is what
its users write first for HTTP, `connect` what it offers for CONNECT, `tcp` its mode for plain TCP.
"""

NGINX_HEAD = """
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
pid {{out}}/nginx.pid;
error_log {{out}}/nginx-error.log;
events {}
"""

NGINX_PLAIN = NGINX_HEAD + """
http {
  access_log off;
  client_body_temp_path {{out}}/n1; proxy_temp_path {{out}}/n2; fastcgi_temp_path {{out}}/n3;
  uwsgi_temp_path {{out}}/n4; scgi_temp_path {{out}}/n5;
  upstream fleet { server 127.0.0.1:{{a}}; server 127.0.0.1:{{b}}; server 127.0.0.1:{{c}}; }
  server {
    listen 127.0.0.1:{{listen}};
    location / { proxy_pass http://fleet; proxy_http_version 1.1; }
    location /other { proxy_pass http://127.0.0.1:{{other}}; }
  }
}
"""

NGINX_TCP = NGINX_HEAD + """
stream {
  upstream fleet { server 127.0.0.1:{{a}}; server 127.0.0.1:{{b}}; server 127.0.0.1:{{c}}; }
  server { listen 127.0.0.1:{{listen}}; proxy_pass fleet; }
}
"""

HAPROXY = """
defaults
  MODE
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  retries 2
  option redispatch 1
frontend web
  bind 127.0.0.1:{{listen}}
  default_backend fleet
ROUTE
backend fleet
  balance roundrobin
  server a 127.0.0.1:{{a}}
  server b 127.0.0.1:{{b}}
  server c 127.0.0.1:{{c}}
"""

HAPROXY_ROUTE = """  use_backend other if { path /other }
backend other
  server other 127.0.0.1:{{other}}
"""

ENVOY = """
static_resources:
  listeners:
  - address: { socket_address: { address: 127.0.0.1, port_value: {{listen}} } }
    filter_chains:
    - filters:
FILTER
  clusters:
  - name: fleet
    connect_timeout: 2s
    load_assignment:
      cluster_name: fleet
      endpoints:
      - lb_endpoints:
        - endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: {{a}} } } }
        - endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: {{b}} } } }
        - endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: {{c}} } } }
  - name: other
    connect_timeout: 2s
    load_assignment:
      cluster_name: other
      endpoints:
      - lb_endpoints:
        - endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: {{other}} } } }
"""

ENVOY_HTTP = """
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: web
CONNECT
          http_filters:
          - name: envoy.filters.http.router
            typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
ROUTES
              - match: { prefix: /other }
                route: { cluster: other }
              - match: { prefix: / }
                route: { cluster: fleet, retry_policy: { retry_on: "connect-failure,reset", num_retries: 2 } }
"""

# HTTP/1.0 without Host is refused unless both are said; CONNECT needs a matcher of its own.
ENVOY_CONNECT = """
          upgrade_configs: [{ upgrade_type: CONNECT }]
          http_protocol_options: { accept_http_10: true, default_host_for_http_10: rpc }
"""

ENVOY_CONNECT_ROUTE = """
              - match: { connect_matcher: {} }
                route: { cluster: fleet, retry_policy: { retry_on: "connect-failure,reset", num_retries: 2 } }
"""

ENVOY_TCP = """
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: rpc
          cluster: fleet
          max_connect_attempts: 3
"""

CADDY = """
{
  admin off
  auto_https off
  persist_config off
}
http://:{{listen}} {
  bind 127.0.0.1
  reverse_proxy /other 127.0.0.1:{{other}}
  reverse_proxy 127.0.0.1:{{a}} 127.0.0.1:{{b}} 127.0.0.1:{{c}} {
    lb_policy round_robin
    lb_retries 2
  }
}
"""

TRAEFIK = """
global: { checkNewVersion: false, sendAnonymousUsage: false }
entryPoints: { web: { address: "127.0.0.1:{{listen}}" } }
providers: { file: { filename: "{{out}}/traefik-{{mode}}-dynamic.yml" } }
"""

TRAEFIK_HTTP = """
http:
  middlewares:
    again: { retry: { attempts: 3 } }
  routers:
    fleet: { rule: "PathPrefix(`/`)", service: fleet, entryPoints: [web], middlewares: [again] }
    other: { rule: "Path(`/other`)", service: other, entryPoints: [web] }
  services:
    fleet:
      loadBalancer:
        servers: [{ url: "http://127.0.0.1:{{a}}" }, { url: "http://127.0.0.1:{{b}}" }, { url: "http://127.0.0.1:{{c}}" }]
    other: { loadBalancer: { servers: [{ url: "http://127.0.0.1:{{other}}" }] } }
"""

TRAEFIK_TCP = """
tcp:
  routers:
    fleet: { rule: "HostSNI(`*`)", service: fleet, entryPoints: [web] }
  services:
    fleet:
      loadBalancer:
        servers: [{ address: "127.0.0.1:{{a}}" }, { address: "127.0.0.1:{{b}}" }, { address: "127.0.0.1:{{c}}" }]
"""

TIDEGATE = """
[listener]
rpc = { bind = "127.0.0.1:{{listen}}" }

[[route]]
path = "/_goRPC_"
methods = ["CONNECT"]
to = "fleet"

[[route]]
path = "/other"
methods = ["CONNECT"]
to = "other"

[upstream.fleet]
endpoints = ["127.0.0.1:{{a}}", "127.0.0.1:{{b}}", "127.0.0.1:{{c}}"]
balance = "round_robin"

[upstream.other]
endpoints = ["127.0.0.1:{{other}}"]
"""

PEERS = {
    "nginx": dict(version=["-v"], run=["-c", "{{file}}", "-p", "."],
                  modes={"plain": {".conf": NGINX_PLAIN}, "tcp": {".conf": NGINX_TCP}}),
    "haproxy": dict(version=["-v"], run=["-f", "{{file}}", "-db"], modes={
        "plain": {".cfg": HAPROXY.replace("MODE", "mode http").replace("ROUTE\n", HAPROXY_ROUTE)},
        "connect": {".cfg": HAPROXY.replace("MODE", "mode http")
                    .replace("bind", "option accept-invalid-http-request\n  bind").replace("retries 2", "retries 2\n  retry-on all-retryable-errors")
                    
                    .replace("ROUTE\n", HAPROXY_ROUTE)},
        "tcp": {".cfg": HAPROXY.replace("MODE", "mode tcp").replace("ROUTE\n", "")}}),
    "envoy": dict(version=["--version"], run=["-c", "{{file}}", "--concurrency", "2", "-l", "error", "--use-dynamic-base-id"], modes={
        "plain": {".yaml": ENVOY.replace("FILTER", ENVOY_HTTP.replace("CONNECT\n", "").replace("ROUTES\n", ""))},
        "connect": {".yaml": ENVOY.replace("FILTER", ENVOY_HTTP.replace("CONNECT\n", ENVOY_CONNECT).replace("ROUTES\n", ENVOY_CONNECT_ROUTE))},
        "tcp": {".yaml": ENVOY.replace("FILTER", ENVOY_TCP)}}),
    "traefik": dict(settle=2, version=["version"], run=["--configFile={{file}}"], modes={
        "plain": {".yml": TRAEFIK, "-dynamic.yml": TRAEFIK_HTTP},
        "tcp": {".yml": TRAEFIK, "-dynamic.yml": TRAEFIK_TCP}}),
    "caddy": dict(version=["version"], run=["run", "--adapter", "caddyfile", "--config", "{{file}}"],
                  modes={"plain": {".Caddyfile": CADDY}}),
    "tidegate": dict(version=["version"], run=["run", "--config", "{{file}}"], modes={"http": {".toml": TIDEGATE}}),
}
