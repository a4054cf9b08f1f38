// Uses a server as a Go program would: over the network, with stubs that protoc-gen-go-grpc made.
// Run by ../space.py, which says what is in the environment.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"reflect"
	"sort"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	space "syft/space/v1"
)

const callTime = 30 * time.Second

var (
	key      = variable("KEY")
	upstream = variable("UPSTREAM")
	client   = connect(grpc.WithDefaultServiceConfig(file(variable("SERVICE_CONFIG"))))
)

var checks = []struct {
	name string
	run  func(context.Context) error
}{
	{"a unary query gives references and text", unaryQuery},
	{"deltas arrive one by one, then one `completed`", streamedQuery},
	{"a cancelled stream stops the model", cancelledStream},
	{"a wrong slug is NOT_FOUND", wrongSlug},
	{"a missing key is UNAUTHENTICATED", missingKey},
	{"every invalid field is named", invalidFields},
	{"the service config has UNAVAILABLE repeated", repeatedCalls},
}

func main() {
	failed := 0
	for _, check := range checks {
		ctx, cancel := context.WithTimeout(authorized(), callTime)
		if err := check.run(ctx); err != nil {
			failed++
			fmt.Printf("FAILED  %s\n        %v\n", check.name, err)
		} else {
			fmt.Printf("ok      %s\n", check.name)
		}
		cancel()
	}
	fmt.Printf("%d passed, %d failed\n", len(checks)-failed, failed)
	if failed > 0 {
		os.Exit(1)
	}
}

func unaryQuery(ctx context.Context) error {
	request := question("legal-qa", "What is the copyright term?")
	request.Query.StopSequences = &space.StopSequences{}
	answer, err := client.Query(ctx, request)
	if err != nil {
		return err
	}
	documents := answer.GetReferences().GetDocuments()
	if len(documents) != 1 || documents[0].GetDocumentId() != "copyright" {
		return fmt.Errorf("the references are %v", documents)
	}
	if kind := documents[0].GetMetadata().GetFields()["kind"].GetStringValue(); kind != "law" {
		return fmt.Errorf("the metadata is %v", documents[0].GetMetadata())
	}
	if text := answer.GetSummary().GetContent(); !strings.Contains(text, "seventy years") {
		return fmt.Errorf("the text is %q", text)
	}
	return equal(answer.GetPolicyMetadata().GetOutcome(), "success")
}

func streamedQuery(ctx context.Context) error {
	deltas := []string{}
	kinds, err := stream(ctx, question("paced", "Count"), func(event *space.StreamQueryResponse) error {
		if delta := event.GetDelta(); delta != nil {
			deltas = append(deltas, delta.GetContent())
			// Only now does the model write the next piece.
			return control(ctx, http.MethodPost, "/arrived")
		}
		if completed := event.GetCompleted(); completed != nil && completed.GetQueryId() == "" {
			return errors.New("`completed` has no query id")
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("after %q: %w", deltas, err)
	}
	if err := equal(deltas, []string{"one ", "two ", "three"}); err != nil {
		return err
	}
	return equal(kinds, []string{"delta", "delta", "delta", "completed"})
}

func cancelledStream(ctx context.Context) error {
	calling, cancel := context.WithCancel(ctx)
	defer cancel()
	request := question("endless", "Go on")
	request.Query.MaxTokens = proto.Int32(1_000_000)
	events, err := client.StreamQuery(calling, streamed(request))
	if err != nil {
		return err
	}
	first, err := events.Recv()
	if err != nil {
		return err
	}
	if first.GetDelta() == nil {
		return fmt.Errorf("the first event is %v", first)
	}
	cancel()
	if err := control(ctx, http.MethodGet, "/hung-up"); err != nil {
		return err
	}
	for err == nil {
		_, err = events.Recv()
	}
	return equal(status.Code(err), codes.Canceled)
}

func wrongSlug(ctx context.Context) error {
	_, err := client.Query(ctx, question("wrong", "?"))
	_, err = failsWith(err, codes.NotFound, "ENDPOINT_NOT_FOUND")
	return err
}

func missingKey(ctx context.Context) error {
	_, err := client.Query(metadata.NewOutgoingContext(ctx, metadata.MD{}), question("legal-qa", "?"))
	_, err = failsWith(err, codes.Unauthenticated, "UNAUTHENTICATED")
	return err
}

func invalidFields(ctx context.Context) error {
	request := question("legal-qa", "?")
	request.Query.Limit = proto.Int32(0)
	request.Query.Temperature = proto.Float64(9)
	_, err := client.Query(ctx, request)
	details, err := failsWith(err, codes.InvalidArgument, "INVALID_REQUEST")
	if err != nil {
		return err
	}
	fields := []string{}
	for _, detail := range details {
		if invalid, ok := detail.(*errdetails.BadRequest); ok {
			for _, violation := range invalid.GetFieldViolations() {
				fields = append(fields, violation.GetField())
			}
		}
	}
	sort.Strings(fields)
	return equal(fields, []string{"query.limit", "query.temperature"})
}

func repeatedCalls(ctx context.Context) error {
	once := connect(grpc.WithDisableRetry())
	_, err := once.Query(ctx, question("flaky", "Once?"))
	if _, err := failsWith(err, codes.Unavailable, "MODEL_UNAVAILABLE"); err != nil {
		return err
	}

	request := question("flaky", "Unary?")
	// A call that gRPC repeats keeps its id.
	request.RequestId = proto.String("5f0c9d1e-7a34-4f6b-9b1d-2c8e4a6f0b13")
	answer, err := client.Query(ctx, request)
	if err != nil {
		return fmt.Errorf("unary: %w", err)
	}
	if err := equal(answer.GetSummary().GetContent(), "again"); err != nil {
		return err
	}
	kinds, err := stream(ctx, question("flaky", "Streamed?"), nil)
	if err != nil {
		return fmt.Errorf("streamed: %w", err)
	}
	return equal(kinds, []string{"delta", "completed"})
}

func connect(options ...grpc.DialOption) space.EndpointServiceClient {
	connection, err := grpc.Dial(variable("ADDRESS"), append(options, grpc.WithInsecure())...)
	if err != nil {
		fail("dial: %v", err)
	}
	return space.NewEndpointServiceClient(connection)
}

func question(slug, text string) *space.QueryRequest {
	return &space.QueryRequest{Slug: slug, Query: &space.Query{Messages: &space.Query_Text{Text: text}}}
}

func streamed(request *space.QueryRequest) *space.StreamQueryRequest {
	return &space.StreamQueryRequest{Slug: request.Slug, Query: request.Query}
}

// stream reads a whole answer and returns the kinds of its events in order.
func stream(
	ctx context.Context, request *space.QueryRequest, each func(*space.StreamQueryResponse) error,
) ([]string, error) {
	events, err := client.StreamQuery(ctx, streamed(request))
	if err != nil {
		return nil, err
	}
	kinds := []string{}
	for {
		event, err := events.Recv()
		if err == io.EOF {
			return kinds, nil
		}
		if err != nil {
			return kinds, err
		}
		kinds = append(kinds, kind(event))
		if each != nil {
			if err := each(event); err != nil {
				return kinds, err
			}
		}
	}
}

// kind is the name of the field that is set in the event.
func kind(event *space.StreamQueryResponse) string {
	message := event.ProtoReflect()
	field := message.WhichOneof(message.Descriptor().Oneofs().ByName("event"))
	if field == nil {
		return ""
	}
	return string(field.Name())
}

func authorized() context.Context {
	return metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+key)
}

// failsWith expects a call to fail so, and returns the details of its status.
func failsWith(err error, code codes.Code, reason string) ([]interface{}, error) {
	if err == nil {
		return nil, fmt.Errorf("no %v came", code)
	}
	found := status.Convert(err)
	if found.Code() != code {
		return nil, fmt.Errorf("not %v: %w", code, err)
	}
	for _, detail := range found.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return found.Details(), equal([]string{info.GetReason(), info.GetDomain()}, []string{reason, "space.syft"})
		}
	}
	return nil, fmt.Errorf("no ErrorInfo in %v", found.Details())
}

// control talks with the scripted model server.
func control(ctx context.Context, method, path string) error {
	request, err := http.NewRequestWithContext(ctx, method, upstream+path, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusNoContent {
		return fmt.Errorf("%s %s of the model server: %s", method, path, response.Status)
	}
	return nil
}

func equal(found, expected interface{}) error {
	if !reflect.DeepEqual(found, expected) {
		return fmt.Errorf("found %q, not %q", found, expected)
	}
	return nil
}

func file(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		fail("%v", err)
	}
	return string(text)
}

func variable(name string) string {
	value, found := os.LookupEnv(name)
	if !found {
		fail("%s is not set", name)
	}
	return value
}

func fail(format string, arguments ...interface{}) {
	fmt.Fprintf(os.Stderr, format+"\n", arguments...)
	os.Exit(1)
}
