package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azfake "github.com/Azure/azure-sdk-for-go/sdk/azcore/fake"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	keysfake "github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys/fake"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	secretsfake "github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets/fake"
)

// Key Vault by the fake servers of Microsoft's SDK: they read requests and write replies, what is kept is ours.
// Entra ID's token endpoint stands at the same address.
func keyvault(address string) {
	vault := &vault{address: address, secrets: map[string][]secret{}, keys: map[string]*rsa.PrivateKey{}}
	secrets := secretsfake.NewServerTransport(&secretsfake.Server{GetSecret: vault.getSecret, SetSecret: vault.setSecret})
	keys := keysfake.NewServerTransport(&keysfake.Server{CreateKey: vault.createKey, GetKey: vault.getKey, WrapKey: vault.wrapKey, UnwrapKey: vault.unwrapKey})
	tokens := &entra{issued: map[string]string{}}
	listener, err := net.Listen("tcp", address)
	fail(err)
	go http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := operation(r)
		if name == "" {
			tokens.ServeHTTP(w, r)
			return
		}
		if !tokens.allows(r, "https://vault.azure.net/.default") {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer authorization="https://%s/tenant", resource="https://vault.azure.net"`, r.Host))
			reply(w, 401, map[string]any{"error": map[string]any{"code": "Unauthorized", "message": "AKV10000: Request is missing a Bearer or PoP token."}})
			return
		}
		if r.URL.Query().Get("api-version") == "" {
			reply(w, 400, map[string]any{"error": map[string]any{"code": "BadParameter", "message": "The request URI does not have an api-version"}})
			return
		}
		if name == "List" {
			vault.list(w, r)
			return
		}
		do := secrets.Do
		if strings.HasPrefix(r.URL.Path, "/keys") {
			do = keys.Do
		}
		r.URL.Scheme, r.URL.Host = "https", r.Host
		got, err := do(r.WithContext(context.WithValue(r.Context(), runtime.CtxAPINameKey{}, "Client."+name)))
		var refused *azcore.ResponseError
		if errors.As(err, &refused) {
			reply(w, refused.StatusCode, map[string]any{"error": map[string]any{"code": refused.ErrorCode, "message": "The vault does not do that."}})
			return
		}
		if err != nil {
			reply(w, 500, map[string]any{"error": map[string]any{"code": "InternalError", "message": err.Error()}})
			return
		}
		defer got.Body.Close()
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.WriteHeader(got.StatusCode)
		io.Copy(w, got.Body)
	}))
}

// operation is the SDK's name for what a request asks of a vault; empty: it asks nothing of one.
func operation(r *http.Request) string {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	last := parts[len(parts)-1]
	switch {
	case parts[0] == "secrets" && r.Method == "PUT":
		return "SetSecret"
	case parts[0] == "secrets" && len(parts) == 1:
		return "List"
	case parts[0] == "secrets":
		return "GetSecret"
	case parts[0] == "keys" && last == "create":
		return "CreateKey"
	case parts[0] == "keys" && last == "wrapkey":
		return "WrapKey"
	case parts[0] == "keys" && last == "unwrapkey":
		return "UnwrapKey"
	case parts[0] == "keys":
		return "GetKey"
	}
	return ""
}

type secret struct {
	version, value string
	enabled        bool
}

type vault struct {
	address string
	mutex   sync.Mutex
	secrets map[string][]secret
	keys    map[string]*rsa.PrivateKey // by name/version; the newest by name, too
}

// split parts a name from a version: the fake servers' patterns take the slash between them for a part of the name.
func split(name, version string) (string, string) {
	name, rest, _ := strings.Cut(name, "/")
	return name, strings.Trim(rest+version, "/")
}

func ptr[T any](value T) *T { return &value }

func (v *vault) id(parts ...string) string {
	return "https://" + v.address + "/" + strings.Join(parts, "/")
}

func (v *vault) setSecret(_ context.Context, name string, given azsecrets.SetSecretParameters, _ *azsecrets.SetSecretOptions) (resp azfake.Responder[azsecrets.SetSecretResponse], errResp azfake.ErrorResponder) {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	enabled := given.SecretAttributes == nil || given.SecretAttributes.Enabled == nil || *given.SecretAttributes.Enabled
	one := secret{strings.ToLower(rand.Text()), *given.Value, enabled}
	v.secrets[name] = append(v.secrets[name], one)
	resp.SetResponse(200, azsecrets.SetSecretResponse{Secret: v.bundle(name, one)}, nil)
	return
}

func (v *vault) getSecret(_ context.Context, name, version string, _ *azsecrets.GetSecretOptions) (resp azfake.Responder[azsecrets.GetSecretResponse], errResp azfake.ErrorResponder) {
	name, version = split(name, version)
	v.mutex.Lock()
	defer v.mutex.Unlock()
	for _, one := range slices.Backward(v.secrets[name]) {
		if version != "" && version != one.version {
			continue
		}
		if !one.enabled {
			errResp.SetResponseError(403, "Forbidden")
			return
		}
		resp.SetResponse(200, azsecrets.GetSecretResponse{Secret: v.bundle(name, one)}, nil)
		return
	}
	errResp.SetResponseError(404, "SecretNotFound")
	return
}

func (v *vault) bundle(name string, one secret) azsecrets.Secret {
	return azsecrets.Secret{ID: ptr(azsecrets.ID(v.id("secrets", name, one.version))), Value: &one.value, Attributes: &azsecrets.SecretAttributes{Enabled: &one.enabled}}
}

// list writes a page of 25, as Key Vault's are; the SDK's own pager would mix up two listings.
func (v *vault) list(w http.ResponseWriter, r *http.Request) {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	names := slices.Sorted(maps.Keys(v.secrets))
	from, _ := strconv.Atoi(r.URL.Query().Get("$skiptoken"))
	to := min(from+25, len(names))
	page := azsecrets.SecretPropertiesListResult{}
	for _, name := range names[from:to] {
		newest := v.secrets[name][len(v.secrets[name])-1]
		page.Value = append(page.Value, &azsecrets.SecretProperties{ID: ptr(azsecrets.ID(v.id("secrets", name))), Attributes: &azsecrets.SecretAttributes{Enabled: &newest.enabled}})
	}
	if to < len(names) {
		page.NextLink = ptr(fmt.Sprintf("%s?api-version=7.4&$skiptoken=%d&maxresults=25", v.id("secrets"), to))
	}
	reply(w, 200, page)
}

func (v *vault) createKey(_ context.Context, name string, _ azkeys.CreateKeyParameters, _ *azkeys.CreateKeyOptions) (resp azfake.Responder[azkeys.CreateKeyResponse], errResp azfake.ErrorResponder) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	fail(err)
	version := strings.ToLower(rand.Text())
	v.mutex.Lock()
	defer v.mutex.Unlock()
	v.keys[name], v.keys[name+"/"+version] = key, key
	resp.SetResponse(200, azkeys.CreateKeyResponse{KeyBundle: v.public(name, version, key)}, nil)
	return
}

func (v *vault) public(name, version string, key *rsa.PrivateKey) azkeys.KeyBundle {
	return azkeys.KeyBundle{
		Attributes: &azkeys.KeyAttributes{Enabled: ptr(true)},
		Key: &azkeys.JSONWebKey{
			KID:    ptr(azkeys.ID(v.id("keys", name, version))),
			Kty:    ptr(azkeys.KeyTypeRSA),
			KeyOps: []*azkeys.KeyOperation{ptr(azkeys.KeyOperationWrapKey), ptr(azkeys.KeyOperationUnwrapKey)},
			N:      key.N.Bytes(),
			E:      big.NewInt(int64(key.E)).Bytes(),
		},
	}
}

func (v *vault) find(name, version string) *rsa.PrivateKey {
	name, version = split(name, version)
	v.mutex.Lock()
	defer v.mutex.Unlock()
	if version != "" {
		name += "/" + version
	}
	return v.keys[name]
}

func (v *vault) getKey(_ context.Context, name, version string, _ *azkeys.GetKeyOptions) (resp azfake.Responder[azkeys.GetKeyResponse], errResp azfake.ErrorResponder) {
	if key := v.find(name, version); key != nil {
		resp.SetResponse(200, azkeys.GetKeyResponse{KeyBundle: v.public(name, version, key)}, nil)
	} else {
		errResp.SetResponseError(404, "KeyNotFound")
	}
	return
}

func (v *vault) wrapKey(_ context.Context, name, version string, given azkeys.KeyOperationParameters, _ *azkeys.WrapKeyOptions) (resp azfake.Responder[azkeys.WrapKeyResponse], errResp azfake.ErrorResponder) {
	key := v.find(name, version)
	if key == nil {
		errResp.SetResponseError(404, "KeyNotFound")
		return
	}
	if *given.Algorithm != azkeys.EncryptionAlgorithmRSAOAEP256 {
		errResp.SetResponseError(400, "BadParameter")
		return
	}
	result, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, &key.PublicKey, given.Value, nil)
	fail(err)
	resp.SetResponse(200, azkeys.WrapKeyResponse{KeyOperationResult: azkeys.KeyOperationResult{KID: ptr(azkeys.ID(v.id("keys", name, version))), Result: result}}, nil)
	return
}

func (v *vault) unwrapKey(_ context.Context, name, version string, given azkeys.KeyOperationParameters, _ *azkeys.UnwrapKeyOptions) (resp azfake.Responder[azkeys.UnwrapKeyResponse], errResp azfake.ErrorResponder) {
	key := v.find(name, version)
	if key == nil {
		errResp.SetResponseError(404, "KeyNotFound")
		return
	}
	result, err := rsa.DecryptOAEP(sha256.New(), nil, key, given.Value, nil)
	if err != nil || *given.Algorithm != azkeys.EncryptionAlgorithmRSAOAEP256 {
		errResp.SetResponseError(400, "BadParameter")
		return
	}
	resp.SetResponse(200, azkeys.UnwrapKeyResponse{KeyOperationResult: azkeys.KeyOperationResult{KID: ptr(azkeys.ID(v.id("keys", name, version))), Result: result}}, nil)
	return
}
