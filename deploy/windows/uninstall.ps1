<#
.SYNOPSIS
    Removes Martensight from a Windows PC. Settings, data and logs stay, unless told otherwise.

.EXAMPLE
    .\uninstall.ps1
.EXAMPLE
    .\uninstall.ps1 -RemoveData
#>
[CmdletBinding(SupportsShouldProcess = $true, ConfirmImpact = "High")]
param(
    # Where the program is.
    [string]$Program = "$env:ProgramFiles\Martensight",
    # Where settings, data and logs are.
    [string]$Data = "$env:ProgramData\Martensight",
    # Delete settings, data and logs too: every micrograph, label and report. Asks first.
    [switch]$RemoveData
)

Set-StrictMode -Version Latest
$ErrorActionPreference = "Stop"

$identity = [Security.Principal.WindowsIdentity]::GetCurrent()
$principal = New-Object Security.Principal.WindowsPrincipal($identity)
if (-not $principal.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)) {
    throw "Run this in an administrator's PowerShell (right click, Run as administrator)."
}

$home_ = Join-Path $Program "Python"
$interpreter = Join-Path $home_ "python.exe"
if (Test-Path -LiteralPath (Join-Path $home_ "Scripts\python.exe")) {
    $interpreter = Join-Path $home_ "Scripts\python.exe"
}

if (Get-Service -Name "Martensight" -ErrorAction SilentlyContinue) {
    if (Test-Path -LiteralPath $interpreter) {
        & $interpreter -m agent service uninstall
        if ($LASTEXITCODE -ne 0) { throw "The service could not be removed; what the agent said stands above." }
    }
    else {
        # The program is gone already: Windows' own tool takes the entry away.
        Stop-Service -Name "Martensight" -ErrorAction SilentlyContinue
        & "$env:SystemRoot\System32\sc.exe" delete "Martensight"
        if ($LASTEXITCODE -ne 0) { throw "The service could not be removed (sc.exe: $LASTEXITCODE)." }
    }
}

if (Test-Path -LiteralPath $Program) {
    $installer = Join-Path $Program "python-installer.exe"
    if (Test-Path -LiteralPath $installer) {
        Start-Process -FilePath $installer -ArgumentList @("/uninstall", "/quiet") -Wait
    }
    if (Test-Path -LiteralPath $Program) { Remove-Item -LiteralPath $Program -Recurse -Force }
    Write-Host "removed $Program"
}

if ((Get-Command Remove-MpPreference -ErrorAction SilentlyContinue) -and -not $WhatIfPreference) {
    Remove-MpPreference -ExclusionPath $Data -ErrorAction SilentlyContinue
}

if ($RemoveData) {
    if ($PSCmdlet.ShouldProcess($Data, "Delete every micrograph, label, report and setting")) {
        Remove-Item -LiteralPath $Data -Recurse -Force
        Write-Host "removed $Data"
    }
}
else {
    Write-Host "settings, data and logs stay in $Data"
}
