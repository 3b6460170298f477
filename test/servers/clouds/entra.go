package main

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
)

// Entra ID's token endpoint for clients (OAuth 2.0 client credentials), and what Microsoft's libraries ask before.
// The secret of every client is "canary-secret"; a client assertion is taken when it is not empty.
type entra struct {
	mutex  sync.Mutex
	issued map[string]string // token → scope
}

func (e *entra) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	base := "https://" + r.Host
	switch {
	case strings.HasSuffix(r.URL.Path, "/discovery/instance"):
		reply(w, 200, map[string]any{"tenant_discovery_endpoint": base + "/tenant/v2.0/.well-known/openid-configuration", "metadata": []any{}})
	case strings.HasSuffix(r.URL.Path, "/openid-configuration"):
		tenant := strings.Split(r.URL.Path, "/")[1]
		reply(w, 200, map[string]any{
			"token_endpoint":         base + "/" + tenant + "/oauth2/v2.0/token",
			"authorization_endpoint": base + "/" + tenant + "/oauth2/v2.0/authorize",
			"issuer":                 base + "/" + tenant + "/v2.0",
		})
	case r.Method == "POST" && strings.HasSuffix(r.URL.Path, "/oauth2/v2.0/token"):
		if r.FormValue("client_secret") != "canary-secret" && r.FormValue("client_assertion") == "" {
			reply(w, 401, map[string]any{"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided.\r\nTrace ID: x"})
			return
		}
		token := rand.Text()
		e.mutex.Lock()
		e.issued[token] = r.FormValue("scope")
		e.mutex.Unlock()
		reply(w, 200, map[string]any{"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": token})
	default:
		reply(w, 404, map[string]any{"error": "not_found"})
	}
}

// allows says whether a request has a token for the scope.
func (e *entra) allows(r *http.Request, scope string) bool {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	given := e.issued[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
	for _, one := range strings.Fields(given) {
		if one == scope {
			return true
		}
	}
	return false
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fail(json.NewEncoder(w).Encode(body))
}
