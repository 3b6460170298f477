package main

import (
	"context"
	"fmt"
	"hash/crc32"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

	"cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Secret Manager behind the server that Google generates from its protocol; what is kept is ours.
// A request needs a bearer token: one that starts with "token-", or a JWT, which Google's SDK signs by itself.
type manager struct {
	secretmanagerpb.UnimplementedSecretManagerServiceServer
	mutex   sync.Mutex
	names   []string
	secrets map[string][][]byte
}

func secretmanager(address string) {
	listener, err := net.Listen("tcp", address)
	fail(err)
	server := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		given, _ := metadata.FromIncomingContext(ctx)
		if tokens := given.Get("authorization"); len(tokens) != 1 || !(strings.HasPrefix(tokens[0], "Bearer token-") || strings.HasPrefix(tokens[0], "Bearer ey")) {
			return nil, status.Error(codes.Unauthenticated, "Request is missing required authentication credential.")
		}
		return handler(ctx, req)
	}))
	secretmanagerpb.RegisterSecretManagerServiceServer(server, &manager{secrets: map[string][][]byte{}})
	go server.Serve(listener)
}

func (m *manager) CreateSecret(_ context.Context, given *secretmanagerpb.CreateSecretRequest) (*secretmanagerpb.Secret, error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	name := given.Parent + "/secrets/" + given.SecretId
	m.names = append(m.names, name)
	return &secretmanagerpb.Secret{Name: name}, nil
}

func (m *manager) AddSecretVersion(_ context.Context, given *secretmanagerpb.AddSecretVersionRequest) (*secretmanagerpb.SecretVersion, error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.secrets[given.Parent] = append(m.secrets[given.Parent], given.Payload.Data)
	return &secretmanagerpb.SecretVersion{Name: fmt.Sprintf("%s/versions/%d", given.Parent, len(m.secrets[given.Parent]))}, nil
}

func (m *manager) AccessSecretVersion(_ context.Context, given *secretmanagerpb.AccessSecretVersionRequest) (*secretmanagerpb.AccessSecretVersionResponse, error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	parent, version, _ := strings.Cut(given.Name, "/versions/")
	versions := m.secrets[parent]
	number, err := strconv.Atoi(version)
	if version == "latest" {
		number = len(versions)
	} else if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "The provided Secret Version ID [%s] does not match the expected format.", given.Name)
	}
	if number < 1 || number > len(versions) {
		return nil, status.Errorf(codes.NotFound, "Secret [%s] not found or has no versions.", parent)
	}
	data := versions[number-1]
	sum := int64(crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)))
	return &secretmanagerpb.AccessSecretVersionResponse{Name: fmt.Sprintf("%s/versions/%d", parent, number), Payload: &secretmanagerpb.SecretPayload{Data: data, DataCrc32C: &sum}}, nil
}

// Pages of 50.
func (m *manager) ListSecrets(_ context.Context, given *secretmanagerpb.ListSecretsRequest) (*secretmanagerpb.ListSecretsResponse, error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	names := slices.Sorted(slices.Values(slices.DeleteFunc(slices.Clone(m.names), func(name string) bool { return !strings.HasPrefix(name, given.Parent+"/") })))
	from, _ := strconv.Atoi(given.PageToken)
	size := 50
	if given.PageSize > 0 {
		size = int(given.PageSize)
	}
	to := min(from+size, len(names))
	reply := &secretmanagerpb.ListSecretsResponse{TotalSize: int32(len(names))}
	for _, name := range names[from:to] {
		reply.Secrets = append(reply.Secrets, &secretmanagerpb.Secret{Name: name})
	}
	if to < len(names) {
		reply.NextPageToken = strconv.Itoa(to)
	}
	return reply, nil
}
