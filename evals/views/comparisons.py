"""Pages of comparisons."""

from django.http import HttpResponse

from accounts.access import ProjectRequest, project_page


@project_page()
def comparison_list(request: ProjectRequest) -> HttpResponse:
    return HttpResponse()


comparison_new = comparison_list


@project_page()
def comparison(request: ProjectRequest, pk: int) -> HttpResponse:
    return HttpResponse()


comparison_steer = comparison_csv = comparison_jsonl = comparison
